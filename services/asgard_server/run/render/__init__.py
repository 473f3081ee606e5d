"""Results made ready for drawing: pure functions from a result to its view.

`render` reduces a result to the pixels asked for and writes it as JSON (docs/views.md),
or as numbers alone. It never refuses a result: data that does not fit its type becomes
a tree with the reason. It is synchronous and reads memory maps, so it belongs in a pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.run.render.animation import animation, page
from asgard_server.run.render.ensemble import ensemble
from asgard_server.run.render.fit import NAMES, Empty, Unfit
from asgard_server.run.render.heatmap import cells, heatmap
from asgard_server.run.render.line import line
from asgard_server.run.render.optimization import optimization
from asgard_server.run.render.options import Rendered, RenderOptions, check
from asgard_server.run.render.steps import steps
from asgard_server.run.render.tree import clean, simple, tree

__all__ = ["RenderOptions", "Rendered", "render"]

_BINARY = {"Solution2D": cells, "PhysicsAnimation": page}


def render(result: ResultDocument, options: RenderOptions) -> Rendered:
    """Draw a result as its type deserves, in the window and the pixels of `options`.

    Reads `result.data` (arrays, memory maps, lists) and changes nothing. Raises
    InvalidFieldError for options that make no sense, alone or for this result.
    """
    check(options)
    # Odd numbers (sums beyond every float, say) are expected here and come out as missing.
    with np.errstate(all="ignore"):
        if options.binary:
            return Rendered("application/octet-stream", _numbers(result, options))
        view = _view(result, options)
        body = orjson.dumps(view, option=orjson.OPT_SERIALIZE_NUMPY, default=_spelled)
    return Rendered("application/json", body)


def _view(result: ResultDocument, options: RenderOptions) -> dict[str, Any]:
    data, display = result.data, result.display
    if not isinstance(display, Mapping):
        display = {}
    try:
        view = _draw(result, data, display, options)
    except Unfit as unfit:
        waiting = isinstance(unfit, Empty)
        view = tree(data, display, options, clean(unfit.reason), waiting=waiting)
    notes = [clean(note) for note in view.pop("notes")]
    return {
        "kind": view.pop("kind"),
        "result_id": clean(result.id),
        "run_id": clean(result.run_id),
        "result_type": clean(result.result_type),
        "title": _title(display, result.result_type),
        "labels": _labels(display),
        "notes": notes,
        **view,
    }


def _draw(
    result: ResultDocument,
    data: Any,
    display: Mapping[str, Any],
    options: RenderOptions,
) -> dict[str, Any]:
    address = f"/v1/results/{quote(clean(result.id), safe='')}/view"
    if result.result_type not in NAMES:
        return tree(data, display, options)
    if not isinstance(data, Mapping):
        raise Unfit("data is not an object of named fields")
    match result.result_type:
        case "Solution1D":
            return line(data, display, options)
        case "Solution2D":
            return heatmap(data, display, options, address)
        case "StochasticEnsemble":
            return ensemble(data, display, options)
        case "DiscreteSequence":
            return steps(data, display, options)
        case "OptimizationResult":
            return optimization(data, display, options)
        case _:
            return animation(data, display, options, address)


def _numbers(result: ResultDocument, options: RenderOptions) -> bytes:
    draw = _BINARY.get(result.result_type)
    if draw is None:
        raise InvalidFieldError(
            "format",
            f"a {clean(result.result_type)} has no binary form",
            "ask for JSON; heatmaps and animations have one",
        )
    try:
        if not isinstance(result.data, Mapping):
            raise Unfit("data is not an object of named fields")
        return draw(result.data, options)
    except Unfit as unfit:
        raise InvalidFieldError(
            "format", f"this result has no binary form: {clean(unfit.reason)}", "ask for JSON"
        ) from None


def _title(display: Mapping[str, Any], result_type: str) -> str:
    return _word(display.get("title")) or clean(result_type)


def _labels(display: Mapping[str, Any]) -> dict[str, str]:
    labels = display.get("labels")
    named = {"x": "", "y": ""}
    if isinstance(labels, Mapping):
        named |= {clean(str(key)): _word(text) for key, text in labels.items()}
    return named


def _word(value: Any) -> str:
    return clean(str(value)) if isinstance(value, str | int | float) else ""


def _spelled(value: Any) -> Any:
    # What orjson does not know: scalars of numpy's rarer types.
    if isinstance(value, np.generic):
        return simple(value.item())
    if isinstance(value, np.ndarray):
        return value.astype(np.float64).tolist() if value.dtype.kind in "fV" else value.tolist()
    raise TypeError(f"{type(value).__name__} in a view")
