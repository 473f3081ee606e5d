"""Where the Chronicle client finds its server and its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from methodic import Chronicle, ChronicleConfigError
from methodic.config import Config, of_environment, of_file

VARIABLES = (
    "CHRONICLE_API_KEY",
    "CHRONICLE_SERVER_URL",
    "CHRONICLE_TIMEOUT",
    "CHRONICLE_MAX_UPLOAD_WORKERS",
    "CHRONICLE_ORGANIZATION_ID",
    "CHRONICLE_ORGANIZATION_SLUG",
    "CHRONICLE_CONFIG",
    "CHRONICLE_EXPERIMENT_ID",
    "CHRONICLE_VARIATION",
    "CHRONICLE_RUN",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".methodic"
    folder.mkdir()
    return folder


def test_without_a_key_anywhere_nothing_is_asked() -> None:
    for make in (Chronicle.from_env, Chronicle.from_file, Chronicle):
        with pytest.raises(ChronicleConfigError, match="CHRONICLE_API_KEY"):
            make()


def test_the_server_is_this_machine_unless_it_is_told() -> None:
    assert of_environment({"api_key": "k"}) == Config("http://localhost:8000", "k", 30, 2)


def test_arguments_go_before_the_environment_and_that_before_the_files(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config.yaml").write_text(
        "server_url: http://file\ntimeout: 5\nmax_upload_workers: 3\napi_key: of-config\n"
    )
    (home / "credentials.yaml").write_text("api_key: of-credentials\n")
    assert of_file(None, {}) == Config("http://file", "of-credentials", 5, 3)
    monkeypatch.setenv("CHRONICLE_SERVER_URL", "http://variable")
    monkeypatch.setenv("CHRONICLE_TIMEOUT", "7.5")
    found = of_environment({"timeout": 9})
    assert found == Config("http://variable", "of-credentials", 9, 3)


def test_one_file_is_named_instead_of_the_usual(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config.yaml").write_text("server_url: http://usual\n")
    named = tmp_path / "named.yaml"
    named.write_text("api_key: k\n")
    monkeypatch.setenv("CHRONICLE_CONFIG", str(named))
    assert of_environment({}).server_url == "http://localhost:8000"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "cannot be read"),
        ("- a\n", "no YAML of names"),
        ("api_key: k\ntimeout: soon\n", "timeout is 'soon', which is no number"),
        ("api_key: k\nserver_url: ftp://x\n", "begins with http"),
        ("api_key: k\nmax_upload_workers: 0\n", "more than 0"),
        ("api_key: k\norganization_id: a\norganization_slug: b\n", "both given"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_mend(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(text)
    with pytest.raises(ChronicleConfigError, match=said):
        Chronicle.from_file(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChronicleConfigError, match=r"nowhere\.yaml cannot be read"):
        Chronicle.from_file(tmp_path / "nowhere.yaml")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ChronicleConfigError, match="there is no setting 'sever_url'"):
        Chronicle.from_env(api_key="k", sever_url="http://x")


def test_a_scope_that_is_given_hides_the_other_kind_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHRONICLE_ORGANIZATION_SLUG", "acme")
    found = of_environment({"api_key": "k", "organization_id": "org_1"})
    assert (found.organization_id, found.organization_slug) == ("org_1", None)


def test_a_worker_is_told_its_run_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Chronicle(api_key="k") as chronicle:
        with pytest.raises(ChronicleConfigError, match="CHRONICLE_EXPERIMENT_ID"):
            chronicle.run()
        monkeypatch.setenv("CHRONICLE_EXPERIMENT_ID", "e")
        monkeypatch.setenv("CHRONICLE_VARIATION", "2")
        monkeypatch.setenv("CHRONICLE_RUN", "first")
        with pytest.raises(ChronicleConfigError, match="CHRONICLE_RUN is 'first'"):
            chronicle.run()
        monkeypatch.setenv("CHRONICLE_RUN", "0")
        assert repr(chronicle.run()) == "Run('e', variation=2, run=0)"
    chronicle.close()
