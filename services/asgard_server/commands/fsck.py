"""`asgard fsck` where the server is installed: documents, and blobs beside them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import Annotated

import typer
from gimle.asgard.cli import fsck as shown
from gimle.asgard.cli.speaking import existing, fail

from asgard_server.settings import SettingError, Settings

Storage = Annotated[
    str | None,
    typer.Option("--storage", "-s", help="A folder, or s3://bucket/prefix [default: ./storage]"),
]


def fsck(
    storage: Storage = None,
    repair: shown.Repair = False,
    deep: shown.Deep = False,
    as_json: shown.AsJson = False,
) -> None:
    """Check a storage: documents, arrays, blobs; what is missing, and what nobody needs.

    Blobs, and the files of SimSwarm's jobs, are held against the database that knows them
    (ASGARD_DATABASE_URL, or asgard.sqlite3 in the folder). A storage in S3 without
    ASGARD_DATABASE_URL keeps none: there runs, results and arrays are examined, and nothing else.
    Nothing is changed without --repair, and nothing younger than a day is removed, nor what a URL
    may still change: services and uploads may go on meanwhile.

    Ends with status 0 when all is well, or is now; 1 when something is left that is not, or there
    is no storage; 2 for wrong options; 3 when the storage or its database cannot be asked.

    Examples:

    ```
    asgard fsck
    asgard fsck --storage ./my-results --repair
    export ASGARD_DATABASE_URL=postgresql://asgard@db/asgard
    asgard fsck --storage s3://results/team-a --deep --json
    ```
    """
    try:
        settings = Settings.from_environment(os.environ, storage=storage)
    except SettingError as error:
        fail(str(error))
    existing(str(settings.storage))
    from asgard_server.logging import configure
    from asgard_server.processes.examining import examine

    configure(settings.log_level, settings.log_format)
    try:
        with shown.checking(str(settings.storage)) as tell:
            whole = asyncio.run(examine(settings, tell, repair=repair, deep=deep))
    except SettingError as error:
        fail(str(error))
    blobs = whole.blobs
    counted = {
        "runs_only": whole.runs_only,
        "blobs": asdict(blobs.ready),
        "blobs_on_the_way": asdict(blobs.on_the_way),
        "blobs_read": asdict(blobs.read),
    }
    line = f", {blobs.ready.count:,} blob(s) of {blobs.ready.size_bytes:,} bytes"
    if blobs.on_the_way.count:
        line += f", {blobs.on_the_way.count:,} on their way"
    if deep:
        line += f", {blobs.read.size_bytes:,} bytes read"
    if whole.runs_only:
        line = " (of blobs and jobs nothing is known without ASGARD_DATABASE_URL)"
    said = shown.Said(str(storage or settings.storage), whole.report, counted, line)
    shown.say(said, repair=repair, as_json=as_json)
