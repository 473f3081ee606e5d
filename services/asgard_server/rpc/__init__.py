"""gRPC plumbing shared by every service: server, errors, log."""
