"""The table of settings: what is read, from where, what is refused, and what is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from asgard_server.settings import S3Prefix, SettingError, Settings
from asgard_server.settings.parsing import without_passwords
from asgard_server.settings.reading import read
from asgard_server.settings.reference import document
from asgard_server.settings.showing import shown
from asgard_server.settings.table import ROWS

ROOT = Path(__file__).resolve().parents[3]


def asgard(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "MINIO_"))}
    return subprocess.run(
        [sys.executable, "-m", "gimle.asgard.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean | environ,
    )


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ASGARD_STORGE": "x"}, "ASGARD_STORGE is not a setting of this server; ASGARD_STORAGE"),
        ({"ASGARD_storage": "x"}, "ASGARD_storage is not a setting"),
        ({"ASGARD_PORT": "eight"}, "ASGARD_PORT is 'eight'; give a whole number"),
        ({"ASGARD_PORT": "70000"}, "ASGARD_PORT is 70000; give 1 to 65535"),
        ({"ASGARD_DURABILITY": "hard"}, "give one of durable, relaxed"),
        ({"ASGARD_CACHE_SECONDS": "-1"}, "give a number of seconds"),
        ({"ASGARD_CACHE_SECONDS": "nan"}, "give a number of seconds"),
        ({"ASGARD_STORAGE": "gs://bucket"}, "give a folder, or s3://bucket/prefix"),
        ({"ASGARD_STORAGE": "s3://B"}, "give a folder, or s3://bucket/prefix"),
        ({"ASGARD_DATABASE_URL": "mysql://u:geheim@h/d"}, "ASGARD_DATABASE_URL is not an address"),
        ({"ASGARD_DATABASE_URL": "postgresql://u:geheim@h:port/d"}, "names a host or port"),
        ({"ASGARD_DATABASE_URL": "postgresql://u:geheim@[::1/d"}, "names a host or port"),
        ({"ASGARD_REDIS_URL": "redis+cluster://:geheim@a:1,b:x"}, "names a host or port"),
        ({"ASGARD_REDIS_URL": "http://h"}, "ASGARD_REDIS_URL is not an address of its kind"),
        ({"ASGARD_INSECURE": "maybe"}, "ASGARD_INSECURE is 'maybe'; give true or false"),
        ({"ASGARD_CHANGES_KEPT": "3"}, "ASGARD_CHANGES_KEPT is 3; give 1000 or more"),
        ({"ASGARD_TLS_CERT_FILE": "/nowhere"}, "no such file is there"),
        ({"ASGARD_TLS_CERT_FILE": __file__}, "ASGARD_TLS_KEY_FILE is not; give both, or none"),
        ({"ASGARD_TLS_KEY_FILE": __file__}, "ASGARD_TLS_CERT_FILE is not; give both, or none"),
        ({"ASGARD_S3_ACCESS_KEY": "a"}, "ASGARD_S3_SECRET_KEY is not; give both, or none"),
        ({"ASGARD_S3_ENDPOINT": "ftp://h"}, "ASGARD_S3_ENDPOINT is 'ftp://h'; give an address"),
        (
            {"ASGARD_S3_ENDPOINT": "https://h", "ASGARD_S3_SECURE": "false"},
            "ASGARD_S3_SECURE is false, and ASGARD_S3_ENDPOINT is https://h",
        ),
        (
            {"ASGARD_S3_ENDPOINT": "one:9000", "MINIO_ENDPOINT": "two:9000"},
            "ASGARD_S3_ENDPOINT is one:9000, and MINIO_ENDPOINT is two:9000",
        ),
        (
            {"ASGARD_S3_SECRET_KEY": "geheim", "MINIO_SECRET_KEY": "anders"},
            "ASGARD_S3_SECRET_KEY and MINIO_SECRET_KEY differ; set one of them",
        ),
        ({"ASGARD_RUN_SERVICE_HOST": "10.0.0.1"}, "enableServiceLinks: false"),
        ({"ASGARD_RUN_PORT_50051_TCP_ADDR": "10.0.0.1"}, "enableServiceLinks: false"),
        ({"ASGARD_PORT": "tcp://10.0.0.1:80"}, "enableServiceLinks: false"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_mend(
    environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingError, match=r"ASGARD_") as caught:
        Settings.from_environment(environ)
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "anders" not in str(caught.value)


def test_the_command_line_goes_before_the_environment() -> None:
    environ = {"ASGARD_PORT": "9000", "ASGARD_STORAGE": "/data", "HOME": "/root"}
    settings = Settings.from_environment(environ, port=9001, storage=None)
    assert (settings.port, settings.storage) == (9001, Path("/data"))


def test_a_value_of_the_command_line_is_checked_under_its_option() -> None:
    with pytest.raises(SettingError, match="--port is 70000"):
        Settings.from_environment({}, port=70_000)
    with pytest.raises(SettingError, match="--storage is 'gs://x'"):
        Settings.from_environment({}, storage="gs://x")
    with pytest.raises(SettingError, match="--run-address is empty"):
        Settings.from_environment({}, run_address="")


@pytest.mark.parametrize(
    "environ",
    [
        {"ASGARD_DATABASE_URL": "postgresql:///asgard?host=/run/postgresql"},
        {"ASGARD_DATABASE_URL": "postgres://u:p@a:1,b:2/asgard"},
        {"ASGARD_REDIS_URL": "unix:///run/redis.sock"},
        {"ASGARD_REDIS_URL": "rediss+cluster://:p@a:1,[::1]:2"},
    ],
)
def test_addresses_of_every_kind_are_taken_as_they_are(environ: dict[str, str]) -> None:
    settings = Settings.from_environment(environ)
    assert list(environ.values()) == [settings.database_url or settings.redis_url]


def test_an_empty_variable_counts_as_unset() -> None:
    settings = Settings.from_environment({"ASGARD_REDIS_URL": "", "ASGARD_NOBODYS": ""})
    assert settings.redis_url is None


def test_every_variable_is_read_into_its_field() -> None:
    settings = Settings.from_environment(
        {
            "ASGARD_STORAGE": "s3://results/a/b/",
            "ASGARD_DATABASE_URL": "postgresql://u:p@h/d",
            "ASGARD_REDIS_URL": "redis+sentinel://a:1,b:2/main",
            "ASGARD_HOST": "0.0.0.0",
            "ASGARD_INSECURE": "yes",
            "ASGARD_ALLOWED_HOSTS": "a.example, b.example",
            "ASGARD_DRAIN_SECONDS": "2.5",
        }
    )
    assert settings.storage == S3Prefix("results", "a/b")
    assert str(settings.storage) == "s3://results/a/b"
    assert settings.insecure
    assert settings.listens_beyond_loopback
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.drain_seconds == 2.5


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"MINIO_ENDPOINT": "h:9000"}, "https://h:9000"),
        ({"MINIO_ENDPOINT": "h:9000", "MINIO_SECURE": "false"}, "http://h:9000"),
        ({"ASGARD_S3_ENDPOINT": "http://h:9000", "MINIO_ENDPOINT": "h:9000"}, "http://h:9000"),
        ({"ASGARD_S3_ENDPOINT": "https://h/"}, "https://h"),
        ({"ASGARD_S3_ENDPOINT": "[::1]:9000", "MINIO_SECURE": "0"}, "http://[::1]:9000"),
    ],
)
def test_where_s3_is_may_be_said_in_the_words_of_minio(
    environ: dict[str, str], url: str | None
) -> None:
    assert Settings.from_environment(environ).s3_url == url


def test_the_same_value_in_both_words_is_no_contradiction() -> None:
    keys = {"MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b", "MINIO_ROOT_USER": "other"}
    settings = Settings.from_environment(keys | {"ASGARD_S3_ACCESS_KEY": "a"})
    assert (settings.s3_access_key, settings.s3_secret_key) == ("a", "b")


@pytest.mark.parametrize(
    ("host", "beyond"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.1.2", True),
        ("my-host", True),
    ],
)
def test_what_lies_beyond_loopback(host: str, beyond: bool) -> None:
    assert Settings(host=host).listens_beyond_loopback is beyond


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:***@h:5432/d"),
        (
            "postgresql://u@h/d?password=p&sslmode=require",
            "postgresql://u@h/d?password=***&sslmode=require",
        ),
        ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
        ("redis+sentinel://u:p@a:1,b:2/m", "redis+sentinel://u:***@a:1,b:2/m"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("postgresql://u:p:q%40@h/d", "postgresql://u:***@h/d"),
    ],
)
def test_passwords_in_addresses_are_hidden(address: str, told: str) -> None:
    assert without_passwords(address) == told


def test_what_is_shown_says_where_it_came_from_and_no_secret() -> None:
    environ = {
        "ASGARD_DATABASE_URL": "postgresql://u:geheim@h/d",
        "MINIO_ACCESS_KEY": "key",
        "MINIO_SECRET_KEY": "geheim",
    }
    lines = {each.variable: each for each in shown(read(environ, {"port": 9001}))}
    assert list(lines) == [row.variable for row in ROWS.values()]
    assert lines["ASGARD_PORT"].source == "--port"
    assert lines["ASGARD_HOST"].source == "default"
    assert lines["ASGARD_S3_SECRET_KEY"].source == "MINIO_SECRET_KEY"
    assert lines["ASGARD_S3_ACCESS_KEY"].value == "key"
    assert "geheim" not in repr(lines)


def test_config_prints_effective_settings_for_people_and_programs() -> None:
    environ = {"ASGARD_REDIS_URL": "redis://:geheim@h", "ASGARD_PORT": "9000"}
    told = asgard("config", "--json", **environ)
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert answer["ASGARD_PORT"] == {"value": 9000, "source": "ASGARD_PORT"}
    assert answer["ASGARD_REDIS_URL"]["value"] == "redis://:***@h"
    told = asgard("config", **environ)
    assert "geheim" not in told.stdout
    assert len(told.stdout.splitlines()) == len(ROWS)
    wrong = asgard("config", ASGARD_PROT="1")
    assert wrong.returncode == 1
    assert "ASGARD_PORT is one" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_environment_reference_is_fresh() -> None:
    committed = (ROOT / "docs" / "operate" / "environment.md").read_text()
    assert committed == document(), "run make gen and commit it"
    assert all(row.help.endswith(".") for row in ROWS.values())
