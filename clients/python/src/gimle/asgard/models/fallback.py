"""Hugging Face itself, for a model that the store lacks or cannot give."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gimle.asgard.core.errors import AsgardError, NotFoundError
from gimle.asgard.models.layout import folder_of
from gimle.asgard.models.pulling import prepared
from gimle.asgard.models.seeds import note_whole


class FallbackError(AsgardError):
    """Hugging Face could not give the model either."""


def fetch_from_hub(home: Path, id: str) -> Path:
    """Download a model through huggingface_hub into the same cache; answer its snapshot's folder.

    HF_ENDPOINT, HF_TOKEN and the like count as usual. Raises FallbackError.
    """
    if find_spec("huggingface_hub") is None:
        raise FallbackError("huggingface_hub is not there: pip install 'gimle-asgard[models]'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    folder_of(id)  # a name that could lead elsewhere is refused before anything is made
    try:
        snapshot = Path(snapshot_download(id, cache_dir=prepared(home)))
        note_whole(snapshot)
        return snapshot
    except (HfHubHTTPError, OSError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise FallbackError(f"Hugging Face cannot give {id}: {said}") from error


def reason(error: AsgardError) -> str:
    """Why the store was of no use, in one line."""
    if isinstance(error, NotFoundError):
        return f"the store has no model {error.id}"
    return str(error)
