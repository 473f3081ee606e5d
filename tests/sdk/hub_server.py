"""A server of one model as huggingface_hub asks for it, behind HF_ENDPOINT."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def a_hub(id: str, commit: str, files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve the files of one model; yield the address, and the paths asked for so far."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{id}/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(body), "oid": commit}
                    for name, body in files.items()
                ]
                self._answer(json.dumps(tree).encode(), "application/json")
            elif path.startswith(f"/api/models/{id}"):
                info = {
                    "id": id,
                    "sha": commit,
                    "siblings": [{"rfilename": name} for name in files],
                }
                self._answer(json.dumps(info).encode(), "application/json")
            elif (name := path.partition(f"/{id}/resolve/{commit}/")[2]) in files:
                self._answer(files[name], "application/octet-stream")
            else:
                self._answer(b"{}", "application/json", 404)

        def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("etag", f'"{sha256(body).hexdigest()}"')
            self.send_header("x-repo-commit", commit)
            if status == 404:
                self.send_header("x-error-code", "RepoNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
