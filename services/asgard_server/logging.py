"""How the log looks: structlog to standard error, as text for people or JSON for machines.

In JSON every line is one object with `time`, `level` and `event`, where known also `service`,
`replica` and `request_id`; what libraries say and errors that nobody caught look the same.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from asgard_server.rpc.requests import add_request_id

_UNCAUGHT = "uncaught error"

Event = MutableMapping[str, Any]


def configure(level: str, form: str, *, service: str = "", replica: str = "") -> None:
    """Log from `level` on as `form`, which is text or json. Libraries log warnings the same way.

    `service` and `replica` are in every line of JSON: logs of many processes come together.
    """
    number = getattr(logging, level.upper())
    process = {"service": service, "replica": replica} if form == "json" else {}

    def add_process(logger: Any, method: str, event: Event) -> Event:
        for name, value in process.items():
            if value:
                event.setdefault(name, value)
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        add_request_id,
        add_process,
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if form == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                timestamp_key="time",
                # The pretty one shows the values of variables: passwords among them.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _take_libraries(max(number, logging.WARNING), shared, rendering)
    if form == "json":
        _take_uncaught()


def _take_libraries(
    level: int, shared: list[structlog.types.Processor], rendering: list[structlog.types.Processor]
) -> None:
    """Let what is logged by `logging` look like the rest: asyncio, uvicorn, grpc."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _add_logger],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)


def _add_logger(logger: Any, method: str, event: Event) -> Event:
    event["logger"] = event["_record"].name
    return event


def _take_uncaught() -> None:
    """Log what ends the process, or a thread, where Python would print it."""
    log = structlog.get_logger("asgard")

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.critical(_UNCAUGHT, exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            name = args.thread.name if args.thread else ""
            trace = (args.exc_type, args.exc_value, args.exc_traceback)
            log.critical(_UNCAUGHT, thread=name, exc_info=trace)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        error = args.exc_value
        what = args.err_msg or "error ignored"
        log.error(what, object=repr(args.object), exc_info=error or True)

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
