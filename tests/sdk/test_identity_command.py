"""`asgard user`, `org`, `team` and `keys` as their users run them, against a real monitor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.blob_places import Place, in_a_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with in_a_folder(tmp_path_factory.mktemp("folder")) as place:
        yield place


class Asgard:
    """The command line, against one server."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.key = ""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        environment = {**os.environ, "ASGARD_IDENTITY_SERVER": self.where}
        if self.key:
            environment["ASGARD_API_KEY"] = self.key
        done = subprocess.run(
            [sys.executable, "-m", "gimle.asgard.cli", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=100,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def asgard(place: Place) -> Asgard:
    return Asgard(place.where)


def test_from_nobody_to_a_key_that_is_revoked(asgard: Asgard, tmp_path: Path) -> None:
    assert asgard.json("user", "me")["id"] == "local"
    alice = asgard.json("user", "create", "alice", "--name", "Alice Ames")
    assert asgard("user", "show", "@alice").splitlines()[0].split() == ["id", alice["id"]]
    asgard("org", "create", "acme", "--name", "Acme Labs")
    assert asgard("org", "add", "acme", "@alice", "--admin") == "@alice is admin of o/acme\n"
    asgard("team", "create", "ml-team", "--org", "acme")
    assert asgard("team", "add", "t/ml-team", "@alice") == "@alice is member of t/ml-team\n"
    lines = asgard("org", "members", "acme").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["local", "admin"], ["alice", "admin"]] or [
        line.split()[:2] for line in lines[1:]
    ] == [["alice", "admin"], ["local", "admin"]]

    made = asgard.json("keys", "create", "laptop", "--user", "@alice", "--days", "3")
    assert made["api_key"]["expires_at"] is not None
    as_alice = Asgard(asgard.where)
    as_alice.key = made["key"]
    me = as_alice.json("user", "me")
    assert (me["handle"], len(me["organizations"]), len(me["teams"])) == ("@alice", 1, 1)
    assert [row["id"] for row in as_alice.json("keys", "list")] == [made["api_key"]["id"]]
    refused = as_alice("org", "create", "mine", status=1)
    assert "only an administrator of identity" in refused
    assert as_alice("org", "remove", "acme", "@local").startswith("@local is no member any more")
    assert "last administrator" in as_alice("org", "remove", "acme", "@alice", status=1)
    assert asgard("keys", "revoke", made["api_key"]["id"]).startswith("Revoked key_")
    assert "revoked" in as_alice("user", "me", status=1)

    # The key alone is on standard output, for `export ASGARD_API_KEY=$(...)`.
    said = asgard("keys", "create", "worker", "--type", "worker", "--experiment", "e",
                  "--variation", "0", "--run", "1")  # fmt: skip
    assert said.startswith("sk_worker_")
    assert len(said.split()) == 1


def test_mistakes_are_told_in_a_line(asgard: Asgard) -> None:
    for arguments, words in (
        (("org", "show", "nowhere"), "there is no organization o/nowhere"),
        (("user", "create", "Not A Handle"), "handle"),
        (("keys", "create", "k", "--type", "root"), "give user, agent or worker"),
        (("keys", "create", "k", "--type", "worker"), "experiment_id: is missing"),
        (("keys", "revoke", "key_none"), "there is no key key_none"),
        (("org", "create", "a", "--org", "b"), "--org is for teams"),
        (("user", "delete", "@nobody", "--yes"), "there is no user @nobody"),
    ):
        said = asgard(*arguments, status=1)
        assert words in said
        assert said.count("\n") <= 2


@pytest.mark.parametrize("group", ["user", "org", "team", "keys"])
def test_every_command_shows_an_example(asgard: Asgard, group: str) -> None:
    from gimle.asgard.cli.app import build
    from typer.main import get_command

    commands = get_command(build()).commands[group].commands  # type: ignore[attr-defined]  # a group
    assert commands
    for name, command in commands.items():
        assert f"asgard {group} {name}" in (command.help or ""), name


def test_a_key_with_a_line_break_is_refused_before_it_is_sent(asgard: Asgard) -> None:
    asgard.key = "sk_user_a b"
    assert "ASGARD_API_KEY" in asgard("user", "me", status=1)
