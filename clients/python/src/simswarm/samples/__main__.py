"""`python -m simswarm.samples FOLDER`: the artifacts of one job as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from simswarm.samples import AGENTS, ROUNDS, write

parser = argparse.ArgumentParser(prog="python -m simswarm.samples", description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--agents", type=int, default=AGENTS)
parser.add_argument("--rounds", type=int, default=ROUNDS)
parser.add_argument(
    "--market-curves",
    action=argparse.BooleanOptionalAction,
    help="write market_curves.json or leave it out; the seed decides when neither is said",
)
asked = vars(parser.parse_args())
for name, path in write(asked.pop("folder"), **asked).items():
    print(f"{name:<24} {path.stat().st_size:>10,} bytes")
