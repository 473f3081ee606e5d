"""HTTP as the transfers speak it, against a server that says exactly what a test wants it to."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gimle.asgard.transfer.answer import Answer
from gimle.asgard.transfer.errors import WireError
from gimle.asgard.transfer.line import FilePart
from gimle.asgard.transfer.wire import Request, Wire


class Script:
    """A server that reads one request a connection or more, and answers from a list."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._ended = True
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client, client.makefile("rb") as file:
                if self._ended:
                    return
                self.connections += 1
                while self.answers and self._one(client, file):
                    pass

    def _one(self, client: socket.socket, file: object) -> bool:
        """Answer one request; False ends the connection."""
        lines: list[bytes] = []
        while line := file.readline().strip():  # type: ignore[attr-defined]
            lines.append(line)
        if not lines:
            return False
        self.heads.append(b"\n".join(lines))
        sizes = [int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")]
        self.bodies.append(file.read(sizes[0]) if sizes else b"")  # type: ignore[attr-defined]
        answer = self.answers.pop(0)
        client.sendall(answer.removesuffix(b"<close>"))
        return not answer.endswith(b"<close>")


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    try:
        yield script
    finally:
        script.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        yield wire


def ask(wire: Wire, url: str, method: str = "GET") -> tuple[Answer, bytes]:
    with wire.request(method, url, {}) as answer:
        return answer, answer.read()


def test_connections_are_kept(script: Script, wire: Wire) -> None:
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"] * 3
    for _ in range(3):
        assert ask(wire, f"{script.url}/x?y=1")[1] == b"ab"
    assert script.connections == 1
    assert script.heads[0].startswith(b"GET /x?y=1 HTTP/1.1\nhost: 127.0.0.1:")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: r\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\n\r\nabcde<close>",
        b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde<close>",
    ],
)
def test_bodies_end_in_every_way_that_http_has(script: Script, wire: Wire, answer: bytes) -> None:
    script.answers = [answer, b"HTTP/1.1 204 No Content\r\n\r\n"]
    assert ask(wire, script.url)[1] == b"abcde"
    assert ask(wire, script.url)[0].status == 204


def test_a_head_has_no_body(script: Script, wire: Wire) -> None:
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"] * 2
    for _ in range(2):
        answer, body = ask(wire, script.url, "HEAD")
        assert (answer.headers["content-length"], body) == ("7", b"")
    assert script.connections == 1


def test_a_connection_that_was_closed_while_idle_is_made_anew(script: Script, wire: Wire) -> None:
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na<close>"] * 2
    assert ask(wire, script.url)[1] == b"a"
    assert ask(wire, script.url)[1] == b"a"
    assert script.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"<close>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc<close>",
        b"SSH-2.0-OpenSSH\r\n\r\n<close>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n<close>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab<close>",
    ],
)
def test_what_is_cut_or_is_not_http_is_an_error(script: Script, wire: Wire, answer: bytes) -> None:
    script.answers = [answer]
    with pytest.raises(WireError):
        ask(wire, script.url)


def test_an_answer_that_nobody_reads_costs_the_connection(script: Script, wire: Wire) -> None:
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab<close>"] * 2
    with wire.request("GET", script.url, {}):
        pass
    assert ask(wire, script.url)[1] == b"ab"


def test_a_part_of_a_file_is_sent(script: Script, wire: Wire, tmp_path: Path) -> None:
    body = os.urandom(1 << 20)
    (tmp_path / "f").write_bytes(body)
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] * 2
    with (tmp_path / "f").open("rb") as file:
        part = FilePart(file.fileno(), 1_000, 900_000)
        with wire.request("PUT", script.url, {"x-a": "b"}, part) as answer:
            assert answer.read() == b""
        assert script.bodies == [body[1_000:901_000]]
        assert b"x-a: b\ncontent-length: 900000" in script.heads[0]
        with pytest.raises(WireError, match="shorter"):
            wire.request("PUT", script.url, {}, FilePart(file.fileno(), 1 << 20, 5)).__enter__()


def test_a_header_cannot_bring_another(wire: Wire) -> None:
    with pytest.raises(WireError, match="more than one line"):
        wire.request("GET", "http://127.0.0.1:9/", {"a": "b\r\nc: d"})


def test_nobody_there_is_an_error_that_names_who(wire: Wire) -> None:
    with pytest.raises(WireError, match=r"127\.0\.0\.1:9: "):
        ask(wire, "http://127.0.0.1:9/x")


def test_a_child_does_not_use_its_parent_s_connection(script: Script, wire: Wire) -> None:
    script.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"] * 2
    ask(wire, script.url)
    wire._process = -1  # as in a child, which has another pid than the one that connected
    script.answers.insert(0, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb")
    assert ask(wire, script.url)[1] == b"b"
    assert script.connections == 2


@pytest.mark.parametrize(
    ("resets", "said"), [(True, "reset"), (False, r"silent for 0\.5 s")], ids=["reset", "silent"]
)
def test_an_answer_that_breaks_off_is_an_error_of_the_wire(resets: bool, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Wire(silence_s=0.5) as wire:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        half_read, ended = threading.Event(), threading.Event()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                half_read.wait(60)
                if resets:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    ended.wait(60)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            with wire.request("GET", url, {}) as answer:
                assert answer.read_into(memoryview(bytearray(4))) == 4
                half_read.set()
                with pytest.raises(WireError, match=said):
                    answer.read()
        finally:
            half_read.set()
            ended.set()
            serving.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def puts(url: str, count: int) -> list[Request]:
    return [Request("PUT", f"{url}/{number}", {}, b"body") for number in range(count)]


def in_a_row(wire: Wire, requests: list[Request]) -> list[int | None]:
    return [said and said.answer.status for said in wire.in_a_row(requests)]


def test_requests_in_a_row_wait_for_no_answer(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                came = b""
                while came.count(b"body") < 3:  # all of them, before a word is said
                    came += client.recv(1 << 16)
                client.sendall(
                    OK
                    + b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 3\r\n\r\nno!"
                    + b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Slow\r\n"
                    + b"transfer-encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n"
                )

        serving = threading.Thread(target=serve)
        serving.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert in_a_row(wire, puts(url, 3)) == [200, 412, 503]
        serving.join()


LEAVE = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"<close>"


@pytest.mark.parametrize(
    ("answers", "statuses"),
    [
        ([OK, OK + b"<close>"], [200, 200, None, None, None]),
        ([LEAVE], [200, None, None, None, None]),  # as a store does that keeps no connection
    ],
)
def test_a_row_that_is_cut_short_tells_who_was_answered_and_is_the_last(
    script: Script, wire: Wire, answers: list[bytes], statuses: list[int | None]
) -> None:
    script.answers = [*answers, OK]
    assert in_a_row(wire, puts(script.url, 5)) == statuses
    assert in_a_row(wire, puts(script.url, 2)) == []
    assert ask(wire, script.url)[0].status == 200
    assert script.connections == 2


def test_an_origin_that_takes_leave_within_a_row_is_sent_the_next(
    script: Script, wire: Wire
) -> None:
    script.answers = [OK, LEAVE, OK, OK]
    assert in_a_row(wire, puts(script.url, 5)) == [200, 200, None, None, None]
    assert in_a_row(wire, puts(script.url, 2)) == [200, 200]
    assert script.connections == 2


def test_a_row_over_a_connection_that_was_closed_while_idle_is_sent_anew(
    script: Script, wire: Wire
) -> None:
    script.answers = [OK + b"<close>", OK, OK]
    assert ask(wire, script.url)[0].status == 200
    assert in_a_row(wire, puts(script.url, 2)) == [200, 200]
    assert script.connections == 2


def test_a_row_goes_to_one_origin(script: Script, wire: Wire) -> None:
    script.answers = [OK, OK]
    requests = [*puts(script.url, 2), *puts("http://127.0.0.1:9", 1)]
    assert in_a_row(wire, requests) == [200, 200]
    assert len(script.heads) == 2


def test_answers_in_a_row_bring_their_heads_and_bodies(script: Script, wire: Wire) -> None:
    script.answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: a\r\n\r\naa",
        b"HTTP/1.1 200 OK\r\nETag: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: c\r\n\r\n",
    ]
    said = wire.in_a_row([Request("GET", f"{script.url}/{number}", {}, b"") for number in range(3)])
    assert [each and (each.answer.headers["etag"], each.body) for each in said] == [
        ("a", b"aa"),
        ("b", b"b"),
        ("c", b""),
    ]


def test_a_row_to_nobody_has_no_answers(wire: Wire) -> None:
    assert in_a_row(wire, puts("http://127.0.0.1:9", 2)) == [None, None]
