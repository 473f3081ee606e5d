"""`models pull` of 2 GiB of weights, checksums verified, against s5cmd on the same store."""

from __future__ import annotations

import shutil

from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.models import pull, push
from gimle.asgard.transfer import Bucket

from tests.benchmarks import moving
from tests.benchmarks.figures import Bench, Figure
from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY

MODEL = "bench/weights"


def measure(bench: Bench) -> list[Figure]:
    """A model of four shards and its small files, into a new home each time."""
    store = minio.server()
    signer = Signer(Endpoint.parse(store.endpoint), Credentials(ACCESS_KEY, SECRET_KEY))
    bucket = Bucket(signer, store.bucket())
    theirs = moving.s5cmd(store)
    mib = moving.tree_mib(bench)
    sizes = {
        f"model-{number:05}-of-00004.safetensors": mib * moving.MIB // 4 for number in range(4)
    }
    sizes |= dict.fromkeys(("config.json", "tokenizer_config.json", "generation.json"), 2000)
    files = moving.Files(f"{mib:,} MiB of weights", sizes)
    folder = bench.folder / "pulling"
    files.write(folder / "model")
    push(folder / "model", bucket, id=MODEL)

    def clear(number: int) -> None:
        shutil.rmtree(folder / "out")

    sides = (
        (
            lambda number: pull(bucket, folder / "out" / f"ours-{number}", MODEL),
            lambda number: theirs(f"s3://{bucket.name}/models/*", f"{folder}/out/theirs-{number}/"),
        ),
    )
    ours, other = moving.in_turns(bench.few(5, 2), sides, clear)
    moving.say(bench, files, {"down": ours, "s5cmd down": other})
    shutil.rmtree(folder)
    bucket.delete([one.key for one in bucket.list("")])
    return [
        moving.against_s5cmd("models pull", files, ours, other, moving.DOWN, moving.CHECKED_DOWN)
    ]
