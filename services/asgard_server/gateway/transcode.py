"""RPCs over REST, as their `google.api.http` rules say. Nothing here knows an RPC by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.types import ASGIApp

from asgard_server.gateway import query, scalars
from asgard_server.gateway.answers import Answer, serve
from asgard_server.gateway.decode import Decoder, Decoders
from asgard_server.gateway.encode import Encoder, Encoders
from asgard_server.gateway.event_stream import EventStream, Streams, event
from asgard_server.gateway.problems import from_grpc, invalid
from asgard_server.gateway.request import Request
from asgard_server.gateway.routing import Handler
from asgard_server.gateway.scalars import Refused
from asgard_server.gateway.schema import Binding, Rpc

# A stream that fails at once is answered with its status; one that is silent for
# this long is taken to have begun.
FIRST_EVENT_SECONDS = 0.25
INLINE_BYTES = 65_536

_HTTP_BODY = "google.api.HttpBody"


@dataclass(frozen=True, slots=True)
class Translation:
    """What all routes share. `channel_to` finds the way to a service by its full name."""

    channel_to: Callable[[str], grpc.aio.Channel]
    encoders: Encoders
    decoders: Decoders
    streams: Streams
    max_body_bytes: int
    changed: Callable[[], None]


def routes(rpcs: tuple[Rpc, ...], shared: Translation) -> Iterator[tuple[str, str, Handler]]:
    """Yield verb, template and handler of every binding."""
    for rpc in rpcs:
        for binding in rpc.bindings:
            asks = Asks(rpc, binding, shared.decoders)
            answers = Answers(rpc, binding, shared.encoders)
            handler = _stream(rpc, asks, answers, shared) if rpc.streaming else None
            yield (
                binding.verb,
                binding.template,
                handler or _unary(rpc, binding, asks, answers, shared),
            )


def open_templates(rpcs: tuple[Rpc, ...]) -> Iterator[str]:
    """Templates of the bindings that nobody is asked at who they are."""
    for rpc in rpcs:
        if rpc.for_everybody:
            yield from (binding.template for binding in rpc.bindings)


class Asks:
    """Makes an RPC's request message from path, query and body."""

    def __init__(self, rpc: Rpc, binding: Binding, decoders: Decoders) -> None:
        self.decoder = decoders.of(rpc.input)
        self.body = binding.body
        bound = {*_variables(binding.template), binding.body}
        self._in_path = {v for v in _variables(binding.template) if "." not in v}
        self.takes_token = "resume_token" in rpc.input.fields_by_name
        self.parameters = {} if binding.body == "*" else query.parameters_of(self.decoder, bound)

    def message(
        self, variables: dict[str, str], pairs: list[tuple[str, str]], body: bytes
    ) -> Message:
        """Make the message. Raises `Problem` 400."""
        message = self.decoder.make()
        if self.body == "*":
            value = self.decoder.parse(body) if body.strip() else {}
            self._refuse_bound(value)
            self.decoder.merge(value, message, "")
        elif self.body:
            self._put_body(message, body)
        query.apply(pairs, self.parameters, self.decoder, message)
        for path, text in variables.items():
            _put_variable(self.decoder, message, path, text)
        return message

    def _put_body(self, message: Message, body: bytes) -> None:
        for name, field in self.decoder.fields.items():
            if field.name == self.body:
                if field.message is not None:
                    inner = field.message.read(body)
                    getattr(message, field.name).CopyFrom(inner)
                else:
                    field.put(orjson.loads(body), message, name)

    def _refuse_bound(self, value: Any) -> None:
        """A field that the path gives is not to be said again, perhaps otherwise."""
        if isinstance(value, dict):
            for name, field in self.decoder.fields.items():
                if field.name in self._in_path and name in value:
                    raise invalid(name, "is given by the path; leave it out of the body")


class Answers:
    """Makes a body from an RPC's response message."""

    def __init__(self, rpc: Rpc, binding: Binding, encoders: Encoders) -> None:
        self.make: Any = GetMessageClass(rpc.output)
        self.part = binding.response_body
        shown = rpc.output
        # A repeated field alone is a list.
        self.is_list = False
        if self.part:
            shown, self.is_list = _message_field(rpc.output, self.part)
        self.is_raw = shown.full_name == _HTTP_BODY
        self.encoder: Encoder | None = None if self.is_raw else encoders.of(shown)
        # An etag beside the part that is shown is the etag of that part.
        self.has_etag = bool(self.part) and "etag" in rpc.output.fields_by_name
        self.has_token = "resume_token" in rpc.output.fields_by_name

    def answer(self, reply: bytes) -> Answer:
        """Make the answer of a serialised response."""
        message = self.make.FromString(reply)
        shown = getattr(message, self.part) if self.part else message
        etag = f'W/"{message.etag}"' if self.has_etag and message.etag else ""
        if self.encoder is None:
            kind = shown.content_type or "application/octet-stream"
            return Answer(shown.data, kind, etag)
        if self.is_list:
            return Answer(orjson.dumps([self.encoder(each) for each in shown]), etag=etag)
        return Answer(orjson.dumps(self.encoder(shown)), etag=etag)

    def event(self, reply: bytes) -> bytes:
        """Make one server-sent event of a serialised response."""
        message = self.make.FromString(reply)
        shown = getattr(message, self.part) if self.part else message
        text = b"" if self.encoder is None else orjson.dumps(self.encoder(shown))
        return event(text, message.resume_token if self.has_token else "")


def _unary(
    rpc: Rpc, binding: Binding, asks: Asks, answers: Answers, shared: Translation
) -> Handler:
    # Bytes both ways: large messages are made and read in a thread.
    call: Any = shared.channel_to(rpc.service).unary_unary(rpc.path)
    reads = binding.verb == "GET"

    async def handle(request: Request) -> ASGIApp:
        body = await request.json_body(shared.max_body_bytes) if binding.body else b""
        variables, pairs = dict(request.variables), request.parameters()
        if len(body) <= INLINE_BYTES:
            sent = asks.message(variables, pairs, body).SerializeToString()
        else:
            sent = await asyncio.to_thread(
                lambda: asks.message(variables, pairs, body).SerializeToString()
            )
        try:
            reply: bytes = await call(sent, timeout=request.seconds_left, metadata=request.metadata)
        except grpc.aio.AioRpcError as error:
            raise from_grpc(error) from error
        if not reads:
            shared.changed()
        if len(reply) <= INLINE_BYTES:
            return await serve(request, answers.answer(reply))
        return await serve(request, await asyncio.to_thread(answers.answer, reply))

    return handle


def _stream(rpc: Rpc, asks: Asks, answers: Answers, shared: Translation) -> Handler:
    call: Any = shared.channel_to(rpc.service).unary_stream(rpc.path)

    async def handle(request: Request) -> ASGIApp:
        pairs = request.parameters()
        last = request.header(b"last-event-id")
        if last and asks.takes_token and all(name != "resume_token" for name, _ in pairs):
            pairs.append(("resume_token", last))
        sent = asks.message(dict(request.variables), pairs, b"").SerializeToString()
        replies = call(sent, metadata=request.metadata)
        first = asyncio.ensure_future(replies.read())
        await asyncio.wait({first}, timeout=FIRST_EVENT_SECONDS)
        if first.done() and (error := first.exception()):
            if isinstance(error, grpc.aio.AioRpcError):
                raise from_grpc(error) from error
            raise error

        async def events() -> AsyncIterator[bytes]:
            try:
                reply = await first
                while reply is not grpc.aio.EOF:
                    yield answers.event(reply)
                    reply = await replies.read()
            except grpc.aio.AioRpcError as error:
                problem = from_grpc(error).body(request.request_id)
                yield b"event: error\n" + event(orjson.dumps(problem))

        def end() -> None:
            first.cancel()
            replies.cancel()

        return EventStream(events(), shared.streams, idle_comments=True, on_end=end)

    return handle


def _variables(template: str) -> list[str]:
    return [part.partition("}")[0].partition("=")[0] for part in template.split("{")[1:]]


def _message_field(descriptor: Descriptor, name: str) -> tuple[Descriptor, bool]:
    """The type of a field, and whether it holds several of it."""
    field: F | None = descriptor.fields_by_name.get(name)
    inner = None if field is None else field.message_type
    if field is None or inner is None or inner.GetOptions().map_entry:
        raise ValueError(f"response_body {name!r} is not a message field of {descriptor.full_name}")
    return inner, field.is_repeated


def _put_variable(decoder: Decoder, message: Message, path: str, text: str) -> None:
    *outer, last = path.split(".")
    for step in outer:
        inner = next(f for f in decoder.fields.values() if f.name == step)
        message = getattr(message, step)
        assert inner.message is not None, path  # noqa: S101  # the template names a message
        decoder = inner.message
    field = next(f for f in decoder.fields.values() if f.name == last)
    try:
        field.put(scalars.from_query(field.kind, text), message, path)
    except Refused as error:
        raise invalid(path, str(error)) from error
