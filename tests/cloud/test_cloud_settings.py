"""Settings and the command line: one clear line for what is wrong."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from cloud_server.cli import cli
from cloud_server.settings import Settings, load_settings
from shared.errors import UsageError


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """`serve` sends all logs to its standard error, which is closed when CliRunner is done."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_flag_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAM_PORT", "9000")
    monkeypatch.setenv("COTAM_BUNDLE", "tiny, /models/large")
    assert load_settings().port == 9000
    assert load_settings(port=9001, host=None).port == 9001
    assert load_settings().bundle == ("tiny", "/models/large")
    assert load_settings(bundle="one").bundle == ("one",)


def test_errors_name_key_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAM_PORT", "many")
    with pytest.raises(UsageError, match=r"COTAM_PORT is 'many'"):
        load_settings()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "70000"], "COTAM_PORT is 70000"),
        (["--device", "tpu"], "COTAM_DEVICE is 'tpu'"),
        (["--bundle", "nowhere"], "there is no bundle at nowhere"),
    ],
)
def test_serve_refuses_in_one_line(arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(cli, ["serve", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("cloud_server: ")
    assert result.stderr.count("\n") == 1
    assert line in result.stderr


def test_an_address_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["serve", "--port", str(port)])
    assert (result.exit_code, result.stdout) == (2, "")
    message = f"cloud_server: COTAM_HOST is '127.0.0.1', COTAM_PORT {port}: Address already in use"
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_help_names_every_setting() -> None:
    shown = CliRunner().invoke(cli, ["serve", "--help"], env={"COLUMNS": "200"}).stdout
    for name in Settings.model_fields:
        assert f"COTAM_{name.upper()}" in shown or f"--{name.replace('_', '-')}" in shown, name


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("cloud_server ")
