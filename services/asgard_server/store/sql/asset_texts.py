"""What search knows of assets: a row of text for each, of which both engines index the words.

SQLite tells the words of a text from one another by itself. PostgreSQL would take "model.bin" for
the name of a host, and what letters are depends on its locale: it is told the words.
"""

from __future__ import annotations

from asgard_server.asset.domain import Asset
from asgard_server.asset.wishes import searchable
from asgard_server.asset.words import weighed
from asgard_server.store.sql.session import Session

# PostgreSQL refuses a row whose words are 1 MB.
_WORDS_BYTES = 900_000

_ADD = "INSERT INTO asset_texts (asset_id, name, asset_type, content, metadata) VALUES"
_ADD_WORDS = "INSERT INTO asset_texts (asset_id, name, asset_type, content, metadata, words) VALUES"


async def put_text(session: Session, asset: Asset, content: str) -> None:
    """Add the text of a new asset."""
    if session.engine == "sqlite":
        await session.run(f"{_ADD} (?, ?, ?, ?, ?)", asset.id, *_texts(asset, content))
        return
    await session.run(f"{_ADD_WORDS} (?, ?, ?, ?, ?, ?::text::tsvector)", *row_of(asset, content))


def row_of(asset: Asset, content: str) -> tuple[str, ...]:
    """What PostgreSQL keeps of the text of a new asset; the last of it are the words."""
    texts = _texts(asset, content)
    return asset.id, *texts, vector(*texts)


def _texts(asset: Asset, content: str) -> tuple[str, str, str, str]:
    return asset.name or "", asset.asset_type, content, searchable(asset.metadata_json or "")


async def put_metadata(session: Session, asset: Asset) -> None:
    """Replace what is known of its metadata."""
    metadata = searchable(asset.metadata_json or "")
    await session.run("UPDATE asset_texts SET metadata = ? WHERE asset_id = ?", metadata, asset.id)
    await _reread(session, asset.id)


async def forget_content(session: Session, asset_id: str) -> None:
    """Forget what is known of its content."""
    await session.run("UPDATE asset_texts SET content = '' WHERE asset_id = ?", asset_id)
    await _reread(session, asset_id)


async def forget_text(session: Session, asset_id: str) -> None:
    """Let search know an asset no more."""
    await session.run("DELETE FROM asset_texts WHERE asset_id = ?", asset_id)


async def has_text(session: Session, asset_id: str) -> bool:
    """Whether search knows an asset."""
    found = await session.value("SELECT 1 FROM asset_texts WHERE asset_id = ?", asset_id)
    return found is not None


async def _reread(session: Session, asset_id: str) -> None:
    """Tell PostgreSQL the words of a text that has changed."""
    if session.engine == "sqlite":
        return
    row = await session.one(
        "SELECT name, asset_type, content, metadata FROM asset_texts WHERE asset_id = ?", asset_id
    )
    if row is not None:
        await session.run(
            "UPDATE asset_texts SET words = ?::text::tsvector WHERE asset_id = ?",
            *(vector(*row), asset_id),
        )


def vector(name: str, asset_type: str, content: str, metadata: str) -> str:
    """Words with the weights of the texts that they are in, as a tsvector is written."""
    texts = {"A": name, "B": asset_type, "C": content, "D": metadata}
    # Each weight needs a position; that it is another one for each is all that is asked of it.
    return " ".join(
        f"'{word}':" + ",".join(f"{ord(weight) - 64}{weight}" for weight in weights)
        for word, weights in weighed(texts, _WORDS_BYTES).items()
    )
