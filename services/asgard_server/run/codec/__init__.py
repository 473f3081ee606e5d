"""Between the messages of run_service.proto and the documents. Nothing else.

JSON fields travel as bytes in the exact encoding of stored documents. Requests
over 64 KiB are to be decoded off the loop: see `apart.py`.
"""

from __future__ import annotations

from asgard_server.run.codec.answers import (
    decoded_run,
    parts,
    result_message,
    result_messages,
    run_message,
    stored_result,
)
from asgard_server.run.codec.fields import json_object, moment, status_name
from asgard_server.run.codec.requests import (
    batch_digest,
    batch_size,
    belongs,
    data,
    data_size,
    new_batch,
    new_result,
    new_run,
    result_digest,
    result_size,
    run_change,
    run_digest,
    whose,
)
from asgard_server.run.codec.views import drawn, render_options, view_etag, view_message

__all__ = [
    "batch_digest",
    "batch_size",
    "belongs",
    "data",
    "data_size",
    "decoded_run",
    "drawn",
    "json_object",
    "moment",
    "new_batch",
    "new_result",
    "new_run",
    "parts",
    "render_options",
    "result_digest",
    "result_message",
    "result_messages",
    "result_size",
    "run_change",
    "run_digest",
    "run_message",
    "status_name",
    "stored_result",
    "view_etag",
    "view_message",
    "whose",
]
