"""A store with a bucket for model weights, `asgard models` over it, and a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from hashlib import sha1, sha256
from pathlib import Path

from gimle.asgard.cli.app import build
from typer.testing import CliRunner

from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
OTHERS = ("ASGARD_", "MINIO_", "AWS_", "HF_")
ID, COMMIT = "acme/tiny-model", "5f0b02c75b57c5855da9ae460ce51323ea669d8a"
FOLDER = "models--acme--tiny-model"
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
FILES = {
    "config.json": b'{"model_type": "tiny"}\n',
    "model-00001-of-00001.safetensors": len(HEADER).to_bytes(8, "little") + HEADER + bytes(16),
    "nested/tokenizer.json": b'{"version": "1.0"}\n',
}
LOADS = f"""
import json
from huggingface_hub import hf_hub_download, snapshot_download, scan_cache_dir
config = hf_hub_download("{ID}", "config.json")
folder = snapshot_download("{ID}")
print(json.dumps([config, folder, sorted(r.repo_id for r in scan_cache_dir().repos)]))
"""


def blob(name: str) -> str:
    """The name of a file's blob in a cache of huggingface_hub."""
    body = FILES[name]
    if name.endswith(".safetensors"):
        return sha256(body).hexdigest()
    return sha1(b"blob %d\0" % len(body) + body).hexdigest()


def make_cache(home: Path) -> Path:
    """A cache as huggingface_hub leaves it."""
    model = home / FOLDER
    for name, body in FILES.items():
        (model / "blobs").mkdir(parents=True, exist_ok=True)
        (model / "blobs" / blob(name)).write_bytes(body)
        link = model / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(model / "blobs" / blob(name), link.parent))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    return home


class Shop:
    """A store with a bucket, and the command line over it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bucket = store.bucket()
        self.variables = {
            "MINIO_ENDPOINT": f"127.0.0.1:{store.port}",
            "MINIO_ACCESS_KEY": ACCESS_KEY,
            "MINIO_SECRET_KEY": SECRET_KEY,
            "MINIO_SECURE": "false",
            "MINIO_BUCKET": self.bucket,
        }

    def run(self, *words: str, status: int = 0, **more: str) -> str:
        """Run `asgard models`; answer all that it says."""
        variables = {**self.variables, **more}
        if "HF_ENDPOINT" in more:  # huggingface_hub reads it when it is imported
            return run(["-m", "gimle.asgard.cli", "models", *words], variables, status)
        others = [name for name in os.environ if name.startswith(OTHERS) and name not in variables]
        answer = CliRunner().invoke(
            build(), ["models", *words], env={**dict.fromkeys(others), **variables}
        )
        assert answer.exit_code == status, answer.output
        return answer.output

    def keys(self) -> list[str]:
        """All keys of the bucket."""
        return self.store.keys(self.bucket)


def run(words: list[str], variables: Mapping[str, str], status: int = 0) -> str:
    """Run Python in a process of its own; answer all that it says."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    # Nobody may ask the real Hugging Face.
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    answer = subprocess.run(
        [sys.executable, *words],
        env={**clean, **away, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    assert answer.returncode == status, answer.stdout
    return answer.stdout


def assert_loads_offline(home: Path, **where: str) -> None:
    """Have huggingface_hub load the model without a network, `where` its variables say."""
    said = run(["-c", LOADS], {"HF_HUB_OFFLINE": "1", **where}).splitlines()[-1]
    config, folder, repos = json.loads(said)
    assert Path(config).read_bytes() == FILES["config.json"]
    assert Path(folder).resolve() == (home / FOLDER / "snapshots" / COMMIT).resolve()
    for name, body in FILES.items():
        assert (Path(folder) / name).read_bytes() == body
    assert repos == [ID]
