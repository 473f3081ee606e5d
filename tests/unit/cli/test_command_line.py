"""The command line, as a shell sees it: real processes, their words and their exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from gimle.asgard.cli import app
from gimle.asgard.cli.app import build
from gimle.asgard.core.folder import Folder
from gimle.asgard.monitor.storage import AsgardStorage
from typer.testing import CliRunner

from tests.conftest import free_port
from tests.engines.terminal import a_terminal
from tests.sdk.servers import Server

COMMAND = [sys.executable, "-m", "gimle.asgard.cli"]
GRACE_S = 30.0


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASGARD_")}
    return {**clean, "COLUMNS": "100", "NO_COLOR": "1"}


@pytest.fixture
def asgard(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`asgard(*arguments)` in an empty folder."""

    def run(*arguments: str, status: int = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=environment() | more.pop("env", {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


Asgard = Callable[..., subprocess.CompletedProcess[str]]


def test_the_version_is_the_distributions(asgard: Asgard) -> None:
    assert asgard("--version").stdout == "asgard 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["example", "monitor", "serve", "runs", "fsck", "--version"]),
        (["example", "--help"], ["asgard example --list", "--monitor", "--storage", "ASGARD_STO"]),
        (["runs", "list", "--help"], ["asgard runs list", "--limit", "--json"]),
        (["fsck", "--help"], ["asgard fsck", "--repair", "--json"]),
    ],
)
def test_help_explains_with_examples(
    arguments: list[str], words: list[str], asgard: Asgard
) -> None:
    said = asgard(*arguments).stdout
    for word in words:
        assert word in said


def test_every_command_has_an_example_in_its_help() -> None:
    found: list[str] = []

    def look(command: Any, name: str) -> None:
        for word, one in getattr(command, "commands", {}).items():
            look(one, f"{name} {word}")
        if not hasattr(command, "commands"):
            found.append(name)
            assert f"{name} " in f"{command.help}\n".replace("\n", " "), f"{name} has none"

    look(typer.main.get_command(build()), "asgard")
    assert {"asgard monitor", "asgard example", "asgard serve run", "asgard runs list"} <= {*found}


def test_the_examples_are_listed_by_category(asgard: Asgard) -> None:
    said = asgard("example", "--list").stdout
    assert "basic/01_integration.yaml" in said
    assert said.index("basic") < said.index("advanced") < said.index("engineering")
    only = json.loads(asgard("example", "--list", "-c", "discrete", "--json").stdout)
    assert {row["example"].split("/")[0] for row in only} == {"discrete"}
    assert all(row["name"] and row["summary"] for row in only)


def test_an_example_is_saved_shown_listed_and_deleted(asgard: Asgard, tmp_path: Path) -> None:
    said = asgard("example", "basic/01_integration.yaml").stdout
    assert str(tmp_path / "storage") in said
    (row,) = json.loads(asgard("runs", "list", "--json").stdout)
    assert (row["name"], row["equation"]) == ("Integration Example", "int(f, x) = g")
    assert (row["status"], row["result_count"]) == ("succeeded", 1)
    assert row["created_at"].endswith("Z")
    assert row["id"] in asgard("runs", "list").stdout
    begin = row["id"][:13]
    assert "register(x)" in asgard("runs", "show", begin).stdout
    shown = json.loads(asgard("runs", "show", row["id"], "--json").stdout)
    (result,) = shown["results"]
    assert result["data"]["x"] == "float64 [100]"
    assert result["display"]["labels"] == {"x": "x", "y": "g(x)"}
    refused = asgard("runs", "delete", begin, input="n\n", stdin=None, status=1)
    assert "nothing was deleted" in refused.stderr
    assert len(json.loads(asgard("runs", "list", "--json").stdout)) == 1
    deleted = json.loads(asgard("runs", "delete", begin, "--yes", "--json").stdout)
    assert deleted == {"deleted": [row["id"]]}
    assert json.loads(asgard("runs", "list", "--json").stdout) == []
    assert "No runs" in asgard("runs", "list").stdout


def test_a_script_is_told_in_json_what_was_run(asgard: Asgard, tmp_path: Path) -> None:
    rows = json.loads(asgard("example", "-c", "basic", "--storage", "mine", "--json").stdout)
    assert [row["status"] for row in rows] == ["succeeded"] * len(rows)
    storage = AsgardStorage(tmp_path / "mine")
    assert [run.id for run in storage.list_runs()] == [row["run_id"] for row in rows][::-1]
    assert max(row["largest_error"] for row in rows) < 1e-6


def test_the_environment_names_the_storage(asgard: Asgard, tmp_path: Path) -> None:
    env = {"ASGARD_STORAGE": "elsewhere"}
    asgard("example", "basic/04_exponential", env=env)
    assert (tmp_path / "elsewhere/runs").is_dir()
    assert len(json.loads(asgard("runs", "list", "--json", env=env).stdout)) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["example"], 2, ["name one example", "--list"]),
        (["example", "basic/01_integratio"], 1, ["did you mean basic/01_integration.yaml"]),
        (["example", "nothing.yaml"], 1, ["nothing.yaml", "asgard example --list"]),
        (["example", "-c", "stochatsic"], 1, ["did you mean stochastic?"]),
        (["exampel"], 2, ["example"]),
        (["runs", "list"], 1, ["no storage in storage", "--storage"]),
        (["runs", "list", "--storage", "s3://bucket/runs"], 1, ["s3://bucket/runs"]),
        (["fsck"], 1, ["no storage in storage"]),
        (["example", "basic/01_integration", "--storage", "file"], 1, ["file"]),
    ],
)
def test_a_mistake_ends_with_its_mend_and_a_status(
    arguments: list[str], status: int, words: list[str], asgard: Asgard, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    said = asgard(*arguments, status=status).stderr
    for word in words:
        assert word in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "storage").exists()


def test_a_run_that_is_not_there_is_named(asgard: Asgard) -> None:
    asgard("example", "basic/01_integration")
    asgard("example", "basic/01_integration")
    assert "there is no run ../x" in asgard("runs", "show", "../x", status=1).stderr
    assert "2 runs begin with 0" in asgard("runs", "show", "0", status=1).stderr


def test_a_list_tells_whole_names_in_eighty_columns(asgard: Asgard, tmp_path: Path) -> None:
    storage = AsgardStorage(tmp_path / "storage", durability="relaxed")
    run = storage.create_run(name="A name of some words,\nand a break")
    _, row = asgard("runs", "list", env={"COLUMNS": "80"}).stdout.splitlines()
    assert row.startswith(run.id)
    assert row.endswith("A name of some words, and a break")


def test_an_empty_id_chooses_no_run(asgard: Asgard, tmp_path: Path) -> None:
    storage = AsgardStorage(tmp_path / "storage", durability="relaxed")
    storage.create_run(name="Kept")
    told = asgard("runs", "delete", "", "--yes", status=1).stderr
    assert "empty" in told
    assert [run.name for run in storage.list_runs()] == ["Kept"]


def test_a_file_in_the_place_of_the_storage_is_named(asgard: Asgard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for command in (["example", "basic/01_integration"], ["monitor", "--port", "0"]):
        told = asgard(*command, "--storage", "file", status=1).stderr
        assert "it is a file; name a folder" in told, command


def test_a_bad_example_stops_before_anything_is_saved(asgard: Asgard, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: Mine\nequation: int(f x) = g\n")
    said = asgard("example", "mine.yaml", status=1).stderr
    assert "mine.yaml, line 1" in said
    assert "output" in said
    assert not (tmp_path / "storage").exists()


def test_one_that_fails_is_told_and_does_not_hide_the_status(
    asgard: Asgard, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: Too fast\nsimulate: {model: minimise, loss: x^4, start: {x: 9.0}, rate: 9, "
        "steps: 50}\noutput: {type: OptimizationResult, title: T}\n"
    )
    done = asgard("example", "mine.yaml", status=1)
    assert "lower `rate`" in done.stderr
    (row,) = json.loads(asgard("runs", "list", "--json").stdout)
    assert row["status"] == "failed"


def test_what_is_saved_through_a_service_is_said_by_its_address(
    asgard: Asgard, tmp_path: Path
) -> None:
    server = Server(tmp_path / "served")
    server.start()
    try:
        said = asgard("example", "basic/01_integration.yaml", "--storage", server.where).stdout
        assert f"Saved 1 run(s) in {server.where}\n" in said
        assert "asgard monitor" not in said  # which shows folders and S3
        assert "Integration" in asgard("runs", "list", "--storage", server.where).stdout
    finally:
        server.end()
    refused = ["example", "basic/01_integration.yaml", "--monitor", "--storage", server.where]
    assert "leave it out" in asgard(*refused, status=1).stderr


def test_on_a_terminal_it_is_said_what_is_waited_for(tmp_path: Path) -> None:
    controller, terminal = a_terminal()
    where = f"grpc://127.0.0.1:{free_port()}"  # where nobody is: asked for a quarter of a minute
    with subprocess.Popen(
        [*COMMAND, "runs", "list", "--storage", where], stderr=terminal, env=environment()
    ) as process:
        os.close(terminal)
        shown = b""
        while f"Listing the runs of {where}".encode() not in shown:
            shown += os.read(controller, 4_096)
        process.send_signal(signal.SIGINT)
        assert process.wait(GRACE_S) == 130
    os.close(controller)


@pytest.mark.parametrize(
    "run",
    [
        "raise KeyboardInterrupt",  # Ctrl-C while the commands are imported
        # What `import` of a dataclass does, cut by Ctrl-C and told by the command.
        """
try:
    exec("raise KeyboardInterrupt")
except KeyboardInterrupt:
    sys.exit(130)
""",
    ],
)
def test_ctrl_c_ends_with_130_wherever_it_comes(run: str, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(f"import sys\n{run}\n")
    done = subprocess.run(
        COMMAND,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_fsck_finds_and_mends_what_is_not_whole(asgard: Asgard, tmp_path: Path) -> None:
    asgard("example", "engineering/04_pid_control")
    assert "all is well" in asgard("fsck").stdout
    np.save(tmp_path / "storage/files/stray.npy", np.zeros(3))
    found = json.loads(asgard("fsck", "--json", status=1).stdout)
    assert [one["path"] for one in found["findings"]] == ["files/stray.npy"]
    assert not found["clean"]
    # Younger than a day: it may be on its way, so it is reported and left.
    assert "stray.npy" in asgard("fsck", "--repair", status=1).stdout
    assert (tmp_path / "storage/files/stray.npy").exists()


@pytest.mark.parametrize("seen", [0, 10])
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_reader_that_has_seen_enough_is_no_error(
    seen: int, form: list[str], tmp_path: Path
) -> None:
    storage = AsgardStorage(tmp_path / "storage", durability="relaxed")
    for number in range(200):
        storage.create_run(name=f"run {number} " + "x" * 500)
    listing = [*COMMAND, "runs", "list", "--limit", "0", *form]
    with subprocess.Popen(
        listing, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(seen)
        process.stdout.close()
        assert process.wait(GRACE_S) == 0
        assert process.stderr.read() == b""


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_results(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + GRACE_S
    while len(list(folder.glob("results/*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_marks_the_run_failed_and_leaves_nothing_half_done(
    number: int, tmp_path: Path
) -> None:
    process = started(tmp_path, "example", "-c", "stochastic", "--pace", "0.3")
    until_results(tmp_path / "storage", 1, process)
    process.send_signal(number)
    # A parent may pass the same Ctrl-C on a second time.
    process.send_signal(number)
    said, complained = process.communicate(timeout=GRACE_S)
    assert process.returncode == 130, said + complained
    assert "marked failed" in complained
    assert "Traceback" not in complained
    (run,) = AsgardStorage(tmp_path / "storage").list_runs()
    assert run.status == "failed"
    assert run.finished_at is not None
    folder = Folder(tmp_path / "storage", create=False)
    assert folder.fsck().findings == []
    data = folder.read_result(run.result_ids[0]).data
    assert np.asarray(data["paths"]).shape[1] == len(data["t"])


def test_a_kill_leaves_a_readable_run_and_no_half_document(tmp_path: Path) -> None:
    process = started(tmp_path, "example", "advanced/06_drum", "--pace", "0.01")
    until_results(tmp_path / "storage", 2, process)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    (run,) = AsgardStorage(tmp_path / "storage").list_runs()
    assert run.status is None
    frames = np.asarray(run.results[0].data["frames"])
    assert len(frames) == len(run.results[0].data["t"]) >= 1
    assert np.all(np.isfinite(frames))


def test_a_command_that_is_not_installed_says_what_to_install(
    tmp_path: Path,
) -> None:
    # The same command line, told that no other distribution adds a command.
    program = "import gimle.asgard.cli.app as app; app.entry_points = lambda group: []; app.run()"
    done = subprocess.run(
        [sys.executable, "-c", program, "monitor", "--storage", "x"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "asgard-server" in done.stderr
    assert "pip install" in done.stderr


def test_a_command_of_another_distribution_that_is_broken_harms_no_other(tmp_path: Path) -> None:
    program = (
        "from importlib.metadata import EntryPoint\n"
        "import gimle.asgard.cli.app as app\n"
        "point = EntryPoint('monitor', 'no_such_module:monitor', 'gimle.asgard.commands')\n"
        "app.entry_points = lambda group: [point]; app.run()"
    )
    for arguments, status, words in (
        (["monitor"], 1, "no_such_module"),
        (["example", "--list"], 0, ""),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, words in done.stderr) == (status, True)


def test_help_needs_no_numerics() -> None:
    program = (
        "import sys; sys.argv = ['asgard', '--help']\n"
        "from gimle.asgard.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*(set(sys.modules) & {'numpy', 'lark', 'jax', 'yaml'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr.split() == []


def test_without_the_server_the_library_checks_documents_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "entry_points", lambda group: ())
    AsgardStorage(tmp_path, durability="relaxed").create_run(name="r")
    done = CliRunner().invoke(app.build(), ["fsck", "--storage", str(tmp_path), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["runs"]) == (0, 1), done.output
    away = ["fsck", "--storage", "s3://bucket/prefix"]
    monkeypatch.setenv("ASGARD_S3_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    done = CliRunner().invoke(app.build(), away)
    assert (done.exit_code, "is the store running" in done.stderr) == (3, True), done.output
    done = CliRunner().invoke(app.build(), ["blob", "init"])
    assert (done.exit_code, "pip install asgard-server" in done.stderr) == (1, True)


def test_runs_visibility_says_who_reads_a_run_and_show_shows_it(
    asgard: Asgard, tmp_path: Path
) -> None:
    run = AsgardStorage(tmp_path / "storage").create_run("a run", owner="ann")
    command = ("runs", "visibility", run.id, "organization", "--organization", "org_1")
    assert asgard(*command).stdout == f"{run.id}: org_public\n"
    shown = json.loads(asgard("runs", "show", run.id, "--json").stdout)
    said = [shown[name] for name in ("owner", "organization_id", "visibility")]
    assert said == ["ann", "org_1", "org_public"]
    refused = asgard("runs", "visibility", run.id, "all", status=1)
    assert "private, organization or public" in refused.stderr
