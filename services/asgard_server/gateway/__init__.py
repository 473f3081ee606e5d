"""REST to gRPC, the documented endpoints, server-sent events and the page's files."""
