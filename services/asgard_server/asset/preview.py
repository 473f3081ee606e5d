"""The beginning of a component as something a browser may show without harm.

Pictures are shown as what their bytes say they are, of formats that run nothing. Whatever else is
text is plain text, whatever it says: a page or a drawing with a script in it is read, not run.
"""

from __future__ import annotations

from gimle.asgard.core.asset_errors import NoPreviewError
from gimle.asgard.core.errors import BlobTooLargeError

from asgard_server.asset.domain import Asset, Component
from asgard_server.asset.keeping import Keeper
from asgard_server.auth.principal import Principal

TEXT_BYTES = 256 << 10
PICTURE_BYTES = 4 << 20

TEXT = "text/plain; charset=utf-8"

_PICTURES = (
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
)
_NO_TEXT = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")


async def preview(keeper: Keeper, by: Principal, asset_id: str, name: str) -> tuple[str, bytes]:
    """Its content type and bytes. Raises `NoPreviewError`, and as `Keeper.component` does."""
    asset, component = await keeper.component(by, asset_id, name)
    if (component.size_bytes or 0) > PICTURE_BYTES:
        raise NoPreviewError(asset_id, f"it has more than {PICTURE_BYTES >> 20} MiB")
    return shown(asset, component, await _body(keeper, asset, component))


def shown(asset: Asset, component: Component, body: bytes) -> tuple[str, bytes]:
    """What is shown of bytes. Raises `NoPreviewError`."""
    for kind, beginning in _PICTURES:
        if body.startswith(beginning):
            return kind, body
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp", body
    text = _whole_letters(body[:TEXT_BYTES])
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise NoPreviewError(asset.id, f"{component.name} is no text and no picture") from error
    if not _NO_TEXT.isdisjoint(text):
        raise NoPreviewError(asset.id, f"{component.name} is no text and no picture")
    return TEXT, text


async def _body(keeper: Keeper, asset: Asset, component: Component) -> bytes:
    try:
        return await keeper.body(asset, component)
    except BlobTooLargeError as error:
        raise NoPreviewError(asset.id, "it has more than 4 MiB") from error


def _whole_letters(text: bytes) -> bytes:
    """The text without a letter that was cut in the middle."""
    for cut in range(1, min(4, len(text)) + 1):
        if text[-cut] & 0xC0 != 0x80:
            lead = text[-cut]
            length = 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)
            return text if length <= cut else text[:-cut]
    return text
