"""`python -m simswarm.samples FOLDER`: the artifacts of one job as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from simswarm.samples import AGENTS, ROUNDS, write


def _count(said: str) -> int:
    count = int(said)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{said} is less than 1")
    return count


parser = argparse.ArgumentParser(prog="python -m simswarm.samples", description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--agents", type=_count, default=AGENTS)
parser.add_argument("--rounds", type=_count, default=ROUNDS)
parser.add_argument(
    "--market-curves",
    action=argparse.BooleanOptionalAction,
    help="write market_curves.json or leave it out; the seed decides when neither is said",
)
asked = vars(parser.parse_args())
try:
    written = write(asked.pop("folder"), **asked)
except OSError as error:
    parser.error(f"{error.filename}: {error.strerror}")
for name, path in written.items():
    print(f"{name:<24} {path.stat().st_size:>10,} bytes")
