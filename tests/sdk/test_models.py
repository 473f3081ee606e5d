"""`asgard models`: weights into the store and out of it, as huggingface_hub and vLLM read them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from gimle.asgard.core.errors import InvalidNameError
from gimle.asgard.models.layout import models_in
from gimle.asgard.models.turns import alone
from gimle.asgard.transfer import Stored

from tests.engines import minio
from tests.sdk.hub_server import a_hub
from tests.sdk.model_shop import (
    COMMIT,
    FILES,
    FOLDER,
    ID,
    LOADS,
    STORES,
    Shop,
    assert_loads_offline,
    blob,
    make_cache,
    run,
)
from tests.sdk.relay import a_relay


@pytest.fixture(params=list(STORES))
def shop(request: pytest.FixtureRequest) -> Shop:
    return Shop(STORES[request.param]())


@pytest.fixture
def minio_shop() -> Shop:
    return Shop(minio.server())


def test_a_cache_goes_in_and_comes_out_whole(shop: Shop, tmp_path: Path) -> None:
    cache, home = make_cache(tmp_path / "cache"), tmp_path / "home"
    assert "3 file(s) sent" in shop.run("push", str(cache))
    prefix = f"models/hf-cache/{FOLDER}"
    assert shop.keys() == [
        f"{prefix}/refs/main",
        *(f"{prefix}/snapshots/{COMMIT}/{name}" for name in FILES),
    ]
    assert "0 file(s) sent" in shop.run("push", str(cache / FOLDER)), "what is there is not sent"
    assert COMMIT in shop.run("ls")
    assert json.loads(shop.run("ls", "--json"))[0]["refs"] == ["main"]

    assert str(home / FOLDER) in shop.run("pull", ID, "--to", str(home))
    for name in FILES:
        shown = home / FOLDER / "snapshots" / COMMIT / name
        assert shown.is_symlink()
        assert shown.resolve() == (home / FOLDER / "blobs" / blob(name)).resolve()
    assert (home / "hub").readlink() == Path(".")
    assert_loads_offline(home, HF_HOME=str(home))
    assert_loads_offline(home, HF_HUB_CACHE=str(home))
    assert "all are right" in shop.run("verify", ID, "--to", str(home))
    assert "there already" in shop.run("pull", ID, "--to", str(home))


def stage(shop: Shop, commit: str = COMMIT) -> None:
    """Put a snapshot into the store as `s5cmd cp` does: its files, and nothing beside them."""
    client = shop.store.client()
    for name, body in FILES.items():
        key = f"models/hf-cache/{FOLDER}/snapshots/{commit}/{name}"
        client.put_object(Bucket=shop.bucket, Key=key, Body=body)


def test_a_tree_staged_by_other_tools_is_completed(shop: Shop, tmp_path: Path) -> None:
    home = tmp_path / "home"
    stage(shop)
    shop.run("pull", "--to", str(home))
    assert (home / FOLDER / "refs" / "main").read_text() == COMMIT
    assert_loads_offline(home, HF_HOME=str(home))
    assert_loads_offline(home, HF_HUB_CACHE=str(home))
    assert "all are right" in shop.run("verify", "--to", str(home))


def test_what_was_staged_in_parts_comes_out_whole(shop: Shop, tmp_path: Path) -> None:
    stage(shop)
    weights = os.urandom((6 << 20) + 1)
    key = f"models/hf-cache/{FOLDER}/snapshots/{COMMIT}/big.safetensors"
    in_parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    shop.store.client().upload_fileobj(BytesIO(weights), shop.bucket, key, Config=in_parts)
    assert "-2" in shop.store.client().head_object(Bucket=shop.bucket, Key=key)["ETag"]
    shop.run("pull", ID, "--to", str(tmp_path))
    assert (tmp_path / FOLDER / "snapshots" / COMMIT / "big.safetensors").read_bytes() == weights
    assert "all are right" in shop.run("verify", "--to", str(tmp_path))


def test_a_home_with_a_hub_of_its_own_keeps_it(minio_shop: Shop, tmp_path: Path) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = tmp_path / "home"
    other = home / "hub" / "models--someone--else"
    other.mkdir(parents=True)
    minio_shop.run("pull", ID, HF_HOME=str(home))
    other.rmdir()
    assert_loads_offline(home / "hub", HF_HOME=str(home))
    assert_loads_offline(home / "hub", HF_HUB_CACHE=str(home / "hub"))
    assert (home / FOLDER / "snapshots" / COMMIT / "config.json").read_bytes()


def test_a_stale_seed_is_cleared_and_a_good_one_kept(minio_shop: Shop, tmp_path: Path) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = tmp_path / "home"
    snapshot = home / FOLDER / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "old.bin").write_bytes(b"of another release")
    (snapshot / "config.json").write_bytes(FILES["config.json"])
    (snapshot / "model-00001-of-00001.safetensors").symlink_to("../../blobs/gone")
    (snapshot / "nested").mkdir()
    (snapshot / "nested" / "tokenizer.json").write_bytes(b"?" * len(FILES["nested/tokenizer.json"]))
    minio_shop.run("pull", ID, "--to", str(home))
    assert not (snapshot / "old.bin").exists()
    assert_loads_offline(home, HF_HOME=str(home))


OLD = "0" * 40


def test_a_seed_of_another_release_does_not_come_first(minio_shop: Shop, tmp_path: Path) -> None:
    stage(minio_shop)
    model = tmp_path / FOLDER
    for hash in (OLD, "1" * 40):
        (model / "snapshots" / hash).mkdir(parents=True)
        (model / "snapshots" / hash / "config.json").write_bytes(b"{}")
    (model / "snapshots" / ("1" * 40) / "whole.safetensors").write_bytes(b"of their own")
    (model / "snapshots" / ("2" * 40)).mkdir()
    (model / "snapshots" / ("2" * 40) / "a.safetensors").symlink_to("../../blobs/gone")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(OLD)
    absent = model / ".no_exist" / COMMIT / "config.json"
    absent.parent.mkdir(parents=True)
    absent.touch()
    minio_shop.run("pull", ID, "--to", str(tmp_path))
    assert sorted(path.name for path in (model / "snapshots").iterdir()) == ["1" * 40, COMMIT]
    assert (model / "refs" / "main").read_text() == COMMIT
    assert not absent.exists()
    assert_loads_offline(tmp_path, HF_HOME=str(tmp_path))


def test_what_another_program_downloads_is_left_alone(minio_shop: Shop, tmp_path: Path) -> None:
    stage(minio_shop)
    model = tmp_path / FOLDER
    (model / "snapshots" / OLD).mkdir(parents=True)
    (model / "snapshots" / OLD / "config.json").write_bytes(b"{}")
    (model / "blobs").mkdir()
    (model / "blobs" / "abc.incomplete").touch()
    minio_shop.run("pull", ID, "--to", str(tmp_path))
    assert (model / "snapshots" / OLD / "config.json").exists()
    long_ago = time.time() - 2 * 3_600
    os.utime(model / "blobs" / "abc.incomplete", (long_ago, long_ago))
    minio_shop.run("pull", ID, "--to", str(tmp_path))
    assert not (model / "snapshots" / OLD).exists()
    assert not (model / "blobs" / "abc.incomplete").exists()


def test_a_reference_to_nothing_is_not_believed(minio_shop: Shop, tmp_path: Path) -> None:
    stage(minio_shop)
    minio_shop.store.client().put_object(
        Bucket=minio_shop.bucket, Key=f"models/hf-cache/{FOLDER}/refs/main", Body=OLD.encode()
    )
    minio_shop.run("pull", ID, "--to", str(tmp_path))
    assert_loads_offline(tmp_path, HF_HOME=str(tmp_path))


def test_a_pull_goes_on_where_it_was_killed(minio_shop: Shop, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    size, part = 96 << 20, 32 << 20
    (made / "big.safetensors").write_bytes(os.urandom(1 << 20) * (size >> 20))
    (made / "config.json").write_bytes(FILES["config.json"])
    minio_shop.run("push", str(made), "--name", ID)
    home = tmp_path / "home"
    with a_relay(minio_shop.store.port) as relay:
        relay.mark = int(size * 0.7)
        variables = {**minio_shop.variables, "MINIO_ENDPOINT": f"127.0.0.1:{relay.port}"}
        words = ["-m", "gimle.asgard.cli", "models", "pull", ID, "--to", str(home)]
        pulling = subprocess.Popen([sys.executable, *words], env={**os.environ, **variables})
        try:
            assert relay.reached.wait(90)
        finally:
            pulling.send_signal(signal.SIGKILL)
            pulling.wait()
        assert not list((home / FOLDER / "snapshots").rglob("*.safetensors")), "it is not whole"
        minio_shop.run("pull", ID, "--to", str(home), MINIO_ENDPOINT=f"127.0.0.1:{relay.port}")
        assert relay.down < size + part + (4 << 20), "one part again at most"
    assert "all are right" in minio_shop.run("verify", "--to", str(home))


def test_pulls_into_one_folder_wait_for_each_other_and_ask_nobody_else(
    minio_shop: Shop, tmp_path: Path
) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = tmp_path / "home"
    words = ["-m", "gimle.asgard.cli", "models", "pull", ID, "--to", str(home)]
    variables = {**os.environ, **minio_shop.variables, "HF_ENDPOINT": "http://127.0.0.1:9"}
    with ExitStack() as first:
        first.enter_context(alone(home, [ID]))
        second = subprocess.Popen(
            [sys.executable, *words], env=variables, stderr=subprocess.PIPE, text=True
        )
        try:
            assert second.stderr is not None
            assert "waiting for it" in second.stderr.readline()
            assert not (home / FOLDER).exists()
            first.close()
            assert second.communicate(timeout=90)[1] == ""
            assert second.returncode == 0
        finally:
            second.kill()
            second.communicate()
    assert_loads_offline(home, HF_HOME=str(home))
    together = [
        subprocess.Popen([sys.executable, *words], env=variables, stderr=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [one.wait(timeout=90) for one in together] == [0] * 4


def test_a_model_that_is_there_outlives_its_store(minio_shop: Shop, tmp_path: Path) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = tmp_path / "home"
    minio_shop.run("pull", ID, "--to", str(home))
    minio_shop.variables["MINIO_BUCKET"] = "not-there"
    with a_hub(ID, COMMIT, FILES) as (address, asked):
        said = minio_shop.run("pull", ID, "--to", str(home), HF_ENDPOINT=address)
        assert "using what is there" in said
        assert "NoSuchBucket" in said
        minio_shop.run("pull", ID, "--to", str(home), "--no-fallback")
        assert not asked
        (home / FOLDER / "blobs" / blob("config.json")).unlink()
        minio_shop.run("pull", ID, "--to", str(home), "--no-fallback", status=1)
        other = tmp_path / "other"
        minio_shop.run("pull", ID, "--to", str(other), HF_ENDPOINT=address)
        assert asked
        asked.clear()
        minio_shop.run("pull", ID, "--to", str(other), HF_ENDPOINT=address)
        assert not asked, "what came from Hugging Face is known to be whole, too"
    assert_loads_offline(other, HF_HOME=str(other))


def test_hugging_face_is_asked_when_the_store_breaks_off(minio_shop: Shop, tmp_path: Path) -> None:
    stage(minio_shop)
    with a_relay(minio_shop.store.port) as relay, a_hub(ID, COMMIT, FILES) as (address, asked):
        relay.cuts = [1] * 1_000
        minio_shop.variables["MINIO_ENDPOINT"] = f"127.0.0.1:{relay.port}"
        said = minio_shop.run("pull", ID, "--to", str(tmp_path), HF_ENDPOINT=address)
    assert "asking Hugging Face" in said
    assert asked
    assert_loads_offline(tmp_path, HF_HOME=str(tmp_path))


def test_a_folder_of_a_model_gets_a_name_and_a_hash(minio_shop: Shop, tmp_path: Path) -> None:
    made = tmp_path / "finetune"
    for name, body in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(body)
    assert "--name" in minio_shop.run("push", str(made), status=1)
    minio_shop.run("push", str(made), "--name", ID)
    (listed,) = json.loads(minio_shop.run("ls", "--json"))
    minio_shop.run("push", str(made), "--name", ID)
    assert json.loads(minio_shop.run("ls", "--json")) == [listed], "the same files, the same hash"
    minio_shop.run("pull", "--to", str(tmp_path / "home"))
    said = run(["-c", LOADS], {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")})
    assert listed["snapshots"][0]["hash"] in said


def test_verify_finds_what_is_wrong(minio_shop: Shop, tmp_path: Path) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = tmp_path / "home"
    minio_shop.run("pull", ID, "--to", str(home))
    weights = home / FOLDER / "blobs" / blob("model-00001-of-00001.safetensors")
    weights.write_bytes(b"?" * weights.stat().st_size)
    (home / FOLDER / "blobs" / blob("config.json")).unlink()
    said = minio_shop.run("verify", "--to", str(home), status=1)
    assert "config.json is missing" in said
    assert "safetensors has other bytes" in said
    minio_shop.run("pull", ID, "--to", str(home))
    assert "all are right" in minio_shop.run("verify", "--to", str(home))


def test_a_seeded_blob_of_the_right_size_and_other_bytes_is_not_believed(
    minio_shop: Shop, tmp_path: Path
) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = make_cache(tmp_path / "home")
    for name, body in FILES.items():
        (home / FOLDER / "blobs" / blob(name)).write_bytes(b"?" * len(body))
    minio_shop.run("pull", ID, "--to", str(home))
    assert_loads_offline(home, HF_HOME=str(home))
    weights = home / FOLDER / "blobs" / blob("model-00001-of-00001.safetensors")
    # Once it was whole its sizes are enough: a pod's next start does not read all of it.
    weights.write_bytes(b"?" * weights.stat().st_size)
    assert "(there already)" in minio_shop.run("pull", ID, "--to", str(home))


def test_references_that_are_none_do_not_keep_a_model_from_being_pulled(
    minio_shop: Shop, tmp_path: Path
) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    client = minio_shop.store.client()
    for name, body in (("main", b"\xff\xfe"), ("empty", b""), ("long", b"\xff" * 5_000)):
        key = f"models/hf-cache/{FOLDER}/refs/{name}"
        client.put_object(Bucket=minio_shop.bucket, Key=key, Body=body)
    home = tmp_path / "home"
    minio_shop.run("pull", ID, "--to", str(home))
    assert [path.name for path in (home / FOLDER / "refs").iterdir()] == ["main"]
    assert_loads_offline(home, HF_HOME=str(home))


def test_what_is_in_the_way_of_a_pull_is_named(minio_shop: Shop, tmp_path: Path) -> None:
    minio_shop.run("push", str(make_cache(tmp_path / "cache")))
    home = tmp_path / "home"
    for name in FILES:
        (home / FOLDER / "blobs" / blob(name)).mkdir(parents=True)
    said = minio_shop.run("pull", ID, "--to", str(home), status=1)
    assert f"{home}/" in said
    assert ".asgard-part" not in said
    assert ": Is a directory" in said


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "the store has no model acme/tiny-model"),
        ({"MINIO_ENDPOINT": ""}, "no object store is set"),
        ({"MINIO_SECRET_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"MINIO_BUCKET": "not-there"}, "NoSuchBucket"),
    ],
)
def test_hugging_face_is_asked_when_the_store_cannot(
    minio_shop: Shop, tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    minio_shop.variables |= variables
    home = tmp_path / "home"
    assert reason in minio_shop.run("pull", ID, "--no-fallback", "--to", str(home), status=1)
    with a_hub(ID, COMMIT, FILES) as (address, asked):
        said = minio_shop.run("pull", ID, "--to", str(home), HF_ENDPOINT=address)
    assert reason in said
    assert "asking Hugging Face" in said
    assert asked
    assert_loads_offline(home, HF_HOME=str(home))


def test_when_neither_has_it_the_command_fails(minio_shop: Shop, tmp_path: Path) -> None:
    with a_hub("someone/else", COMMIT, {}) as (address, _):
        said = minio_shop.run(
            "pull", ID, "--to", str(tmp_path / "home"), status=1, HF_ENDPOINT=address
        )
    assert "the store has no model" in said
    assert "Hugging Face cannot give" in said
    assert "is not a model" in minio_shop.run("pull", "../../etc", "--to", "/nowhere", status=1)


def test_what_a_store_calls_a_reference_while_it_replaces_one_is_none() -> None:
    keys = [f"snapshots/{COMMIT}/.gitattributes", "refs/main", "refs/.main.sgwtmp.17", "refs/pr/.x"]
    found = models_in([Stored(f"models/hf-cache/{FOLDER}/{key}", 1, '"e"') for key in keys])
    assert list(found[ID].refs) == ["main"]
    assert list(found[ID].snapshots[COMMIT].files) == [".gitattributes"]


@pytest.mark.parametrize("path", ["../../x", "a//b", "a/../../b", "a\\b", "a\nb"])
def test_no_key_leads_out_of_its_snapshot(path: str) -> None:
    key = f"models/hf-cache/{FOLDER}/snapshots/{COMMIT}/{path}"
    with pytest.raises(InvalidNameError) as refused:
        models_in([Stored(key, 1, '"e"')])
    assert repr(key) in str(refused.value), "of a whole store it is to be found"
