"""What a caller asks of a view, and what he gets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gimle.asgard.core.errors import InvalidFieldError

MAX_PIXELS = 8192
MAX_HISTOGRAMS = 64
LAYERS = ("computed", "expected", "error")


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The figure wanted. A zero or empty field stands for its default.

    `width` and `height` are pixels, at most 8,192. `x_min` to `y_max` are the window in
    the units of the axes, None for everything; of an animation, `y_min` and `y_max` are
    the values its darkest and brightest level stand for. `layer` chooses what a heatmap
    shows. `frame_start` and `frame_count` are a page of an animation, `at` the times of
    an ensemble's histograms. `binary` asks for the numbers alone instead of JSON.
    """

    width: int = 1200
    height: int = 400
    x_min: float | None = None
    x_max: float | None = None
    y_min: float | None = None
    y_max: float | None = None
    layer: str = ""
    frame_start: int = 0
    frame_count: int = 0
    at: tuple[float, ...] = ()
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished view: `body` is JSON, or numbers alone as application/octet-stream."""

    content_type: str
    body: bytes


def check(options: RenderOptions) -> None:
    """Raise InvalidFieldError for a request that no result could answer."""
    for field, pixels in (("width", options.width), ("height", options.height)):
        if not 0 <= pixels <= MAX_PIXELS:
            raise InvalidFieldError(
                field, f"{pixels} is not a number of pixels", f"give 1 to {MAX_PIXELS:,}"
            )
    for axis in ("x", "y"):
        low: float | None = getattr(options, f"{axis}_min")
        high: float | None = getattr(options, f"{axis}_max")
        for field, bound in ((f"{axis}_min", low), (f"{axis}_max", high)):
            if bound is not None and not math.isfinite(bound):
                raise InvalidFieldError(field, f"{bound} is not a finite number", "leave it out")
        if low is not None and high is not None and low > high:
            raise InvalidFieldError(
                f"{axis}_min", f"{low} is above {axis}_max ({high})", "swap the two"
            )
    if options.layer and options.layer not in LAYERS:
        raise InvalidFieldError(
            "layer", f"there is no layer {options.layer!r}", f"give one of {', '.join(LAYERS)}"
        )
    for field, number in (
        ("frame_start", options.frame_start),
        ("frame_count", options.frame_count),
    ):
        if number < 0:
            raise InvalidFieldError(field, f"{number} is negative", "give 0 or more")
    if len(options.at) > MAX_HISTOGRAMS:
        raise InvalidFieldError(
            "at", f"{len(options.at)} times were given", f"give at most {MAX_HISTOGRAMS}"
        )
    if not all(math.isfinite(time) for time in options.at):
        raise InvalidFieldError("at", "a time is not a finite number", "give finite times")
