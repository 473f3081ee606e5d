"""nginx with a file of deploy/nginx, for tests: found or brought, stopped by its pid."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.engines.tying import tied
from tests.engines.unpacked import program

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deploy" / "nginx" / "asgard.conf.template"
STARTED_WITHIN_S = 20.0
_MAIN = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/asgard.conf;
}}
"""


class Nginx:
    """nginx in `folder`, with the template's NGINX_... variables given without their beginning.

    `template`: the configuration of its servers, that of deploy/ unless given.
    """

    def __init__(self, folder: Path, template: str | None = None, **variables: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        given = {f"NGINX_{name.upper()}": value for name, value in variables.items()}
        wanted = TEMPLATE.read_text() if template is None else template
        text = re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], wanted)
        (folder / "asgard.conf").write_text(text)
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
        self._command = [
            *(program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")),
            *("-e", str(folder / "error.log")),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def tested(self) -> str:
        """What `nginx -t` says; its failure is the test's."""
        said = subprocess.run([*self._command, "-t"], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        return said.stderr

    def start(self, port: int) -> None:
        """Start it, and wait until it listens on `port`."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the keyboard is not for it
        )
        tied(self._process.pid, signal.SIGTERM)  # by SIGKILL its workers would outlive it
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"nginx did not start:\n{(self.folder / 'error.log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
