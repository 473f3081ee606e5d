"""The environment reference for operators, made from the table.

python -m asgard_server.settings.reference > docs/operate/environment.md
"""

from __future__ import annotations

import sys
from typing import Any

from asgard_server.settings.rows import Row
from asgard_server.settings.table import ROWS

_HEAD = """\
# Environment reference

<!-- Made from services/asgard_server/settings/table.py by `make gen`; do not edit. -->

Every process of Asgard reads its settings once, at its start, from variables `ASGARD_*`; options of
the command line go before them. An empty variable counts as unset. A name that is not in this table
is an error, and so is a value that cannot be used: the process says which one, and its mend, and
ends with status 1. `asgard config` prints the settings that hold and where each came from, without
secrets; `asgard config --json` the same for programs.

The last column says who heeds a setting: `asgard serve run`, `asgard serve gateway`, or
`asgard serve all` and `asgard monitor` (all). `asgard migrate` and `asgard reindex` read those of
`run`. A variable in brackets is heeded where the first is not set; two different values are an
error.

| variable | default | meaning | heeded by |
|---|---|---|---|
"""

_TAIL = """
Programs that call a server read `ASGARD_API_KEY`, what they show to say who they are, and
`asgard user`, `org`, `team` and `keys` also `ASGARD_IDENTITY_SERVER`, which server they ask.
Servers pass over both.

In Kubernetes set `enableServiceLinks: false` in pods: otherwise a Service called `asgard-run` puts
variables such as `ASGARD_RUN_PORT` into their environment.
"""


def document() -> str:
    """The whole page."""
    return _HEAD + "".join(map(_line, ROWS.values())) + _TAIL


def _line(row: Row) -> str:
    variable = f"`{row.variable}`" + (f" (`{row.instead}`)" if row.instead else "")
    services = ", ".join(row.services)
    help = row.help.replace("|", "\\|")
    return f"| {variable} | {row.usually or _written(row.default)} | {help} | {services} |\n"


def _written(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(document())
