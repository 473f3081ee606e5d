"""What is asked of a view, and a view as a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import render_result_pb2 as render_pb
from google.api.httpbody_pb2 import HttpBody

from asgard_server.rpc.fields import optional
from asgard_server.run import repeats

if TYPE_CHECKING:  # the renderer's weight: only when something is drawn
    from asgard_server.run.render.options import Rendered, RenderOptions


def render_options(request: render_pb.RenderResultRequest) -> RenderOptions:
    """How a result is to be drawn. Zero stands for the default."""
    from asgard_server.run.render.options import RenderOptions

    if request.format not in render_pb.RenderResultRequest.Format.values():
        raise InvalidFieldError("format", f"is {request.format}", "say json or binary")
    return RenderOptions(
        width=request.width or 1_200,
        height=request.height or 400,
        x_min=optional(request, "x_min"),
        x_max=optional(request, "x_max"),
        y_min=optional(request, "y_min"),
        y_max=optional(request, "y_max"),
        layer=request.layer,
        frame_start=request.frame_start,
        frame_count=request.frame_count,
        at=tuple(request.at),
        binary=request.format == render_pb.RenderResultRequest.FORMAT_BINARY,
    )


def drawn(result: ResultDocument, options: RenderOptions) -> Rendered:
    """Render; in the pool for it, where the first call also loads the renderer."""
    from asgard_server.run.render import render

    return render(result, options)


def view_message(rendered: Rendered, name: str) -> render_pb.RenderResultResponse:
    """A view as an HTTP body."""
    body = HttpBody(content_type=rendered.content_type, data=rendered.body)
    return render_pb.RenderResultResponse(body=body, etag=name)


def view_etag(document: str, request: render_pb.RenderResultRequest) -> str:
    """Names a view: by the document's state and by what was asked."""
    asked = request.SerializeToString(deterministic=True)
    return repeats.request_digest(document.encode(), asked).hex()
