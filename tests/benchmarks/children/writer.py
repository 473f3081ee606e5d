"""A simulation of another process: saves runs and results through the library.

Argument: the storage. For each line of input it saves once (a run, then results to it)
and answers {"kind", "id", "began", "ended"} in seconds since 1970.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import orjson
from gimle.asgard.monitor.storage import AsgardStorage


def _main(where: str) -> None:
    storage = AsgardStorage(where)
    run = storage.create_run("live", equation="f(t) = int(f, t) = f")
    x = np.linspace(0, 1, 100)
    print(orjson.dumps({"run": run.id}).decode(), flush=True)
    for number, line in enumerate(sys.stdin):
        kind = line.strip()
        began = time.time()
        if kind == "run":
            saved = storage.create_run(f"live {number}", equation="f(t) = int(f, t) = f").id
        else:
            data = {"x": x, "computed": np.exp(x)}
            saved = storage.add_result(run, result_type="Solution1D", data=data).id
        answer = {"kind": kind, "id": saved, "began": began, "ended": time.time()}
        print(orjson.dumps(answer).decode(), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
