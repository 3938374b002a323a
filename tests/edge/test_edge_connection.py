"""What a user's environment can put in the way: each ends in one line that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_client import EdgeClient
from edge_client.settings import server_url
from shared.bundle import Bundle
from shared.errors import UsageError

Cli = Callable[..., Any]
PROXIES = [f"{name}_{kind}" for name in ("ALL", "HTTP", "HTTPS", "NO") for kind in ("PROXY",)]
OFFLINE = ("-s", "http://127.0.0.1:9", "--retries", 0)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", ["ALL_PROXY", "socksio"]),
        ("all_proxy", "socks5://127.0.0.1:9", ["ALL_PROXY", "socksio"]),
        ("HTTP_PROXY", "gopher://127.0.0.1", ["HTTP_PROXY", "gopher"]),
        ("HTTPS_PROXY", "http://[::1", ["HTTPS_PROXY"]),
        ("NO_PROXY", "[::", ["NO_PROXY"]),
        ("SSL_CERT_FILE", "/nowhere.pem", ["SSL_CERT_FILE", "No such file"]),
        ("SSL_CERT_FILE", __file__, ["SSL_CERT_FILE"]),
        ("SSLKEYLOGFILE", "/nowhere/keys", ["SSLKEYLOGFILE"]),
        ("COTAM_EDGE_BUNDLE", "x" * 5000, ["no bundle at"]),
        ("COTAM_API_KEY", "key ", ["API key"]),
        ("COTAM_CONFIG", "/", ["config file /"]),
        ("COTAM_SPOOL_DAYS", "nan", ["COTAM_SPOOL_DAYS is 'nan'"]),
    ],
)
def test_what_cannot_be_used(
    name: str, value: str, parts: list[str], cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for words in (["send", photo, "?", *OFFLINE], ["bundle", "fetch", *OFFLINE[:2]]):
        if words[0] == "bundle" and name in ("COTAM_EDGE_BUNDLE", "COTAM_SPOOL_DAYS"):
            continue  # which it does not need
        ended = cli(*words)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert ended.err.count("\n") == 1
        for part in parts:
            assert part in ended.err


def test_passwords_of_proxies_are_not_shown(
    cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("socks5", "gopher", "http"):
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:secret@127.0.0.1:9")
        ended = cli("send", photo, "?", *OFFLINE, "--no-spool")
        assert ended.code in (2, 4)
        assert "ALL_PROXY" in ended.err
        assert "secret" not in ended.err


def test_a_home_that_is_not_there(
    cli: Cli, photo: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", homeless)
    ended = cli("send", photo, "?", *OFFLINE)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "set HOME or XDG_STATE_HOME" in ended.err
    answered = cli("send", photo, "how large?", "-s", server.url, "--no-spool")
    assert (answered.code, answered.out) == (0, "256 by 160\n")


@pytest.mark.parametrize("place", ["file/spool", "file"])
def test_a_spool_that_cannot_be_made_loses_nothing(
    place: str, cli: Cli, photo: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    spool = tmp_path / place
    monkeypatch.setenv("COTAM_SPOOL", str(spool))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for prompt in ("first?", "second?"):
        ended = cli("send", photo, prompt, *OFFLINE)
        assert ended.code == 4
        assert f"for {spool} cannot be used" in ended.err
    for words in (["list"], ["flush", *OFFLINE[:2]], ["drop", "--yes"]):
        ended = cli("spool", *words)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "cannot be used" in ended.err
    answers = []
    for kept in tmp_path.glob("cotam-spool-*"):
        monkeypatch.setenv("COTAM_SPOOL", str(kept))
        answers.append(cli("spool", "flush", "-s", server.url, "--json").out)
    assert {json.loads(answer)["prompt"] for answer in answers} == {"first?", "second?"}


def test_a_bundle_that_cannot_be_kept(
    cli: Cli, store: Any, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    ended = cli("bundle", "fetch", "-s", store.url)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "XDG_CACHE_HOME" in ended.err


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h", "http://h"),
        ("http://h/", "http://h"),
        ("http://h/v1", "http://h"),
        ("https://h:1/v1/", "https://h:1"),
        ("https://h/below/v1", "https://h/below"),
        ("http://[::1]:9", "http://[::1]:9"),
        ("http://b\u00fccher.example", "http://b\u00fccher.example"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", "nonsense", "localhost:8000", "ftp://h", "http://", "http://[::1", "http://h:99999"),
        *("http://h:0", "http://a b", "http://h/?x", "http://h#x", "http://..", "http://h\n"),
        "http://" + "x" * 64,
    ],
)
def test_what_is_no_address(text: str, cli: Cli) -> None:
    with pytest.raises(UsageError, match="which is no URL"):
        server_url(text)
    ended = cli("config", "server", text)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "127.0.0.1:8000" in cli("config").out


def test_an_address_that_only_shows_when_it_is_used() -> None:
    with pytest.raises(UsageError, match="xn--a is no address"):
        EdgeClient("http://xn--a")


def test_v1_at_the_end(cli: Cli, photo: Path, server: Any) -> None:
    assert cli("send", photo, "how large?", "-s", f"{server.url}/v1").out == "256 by 160\n"
    assert cli("config", "server", f"{server.url}/v1/").code == 0
    assert cli("send", photo, "how large?").out == "256 by 160\n"
    with EdgeClient(f"{server.url}/v1", threads=1) as client:
        assert client.ask(photo, "how large?").answer == "256 by 160"


def test_a_key_that_no_header_takes_is_not_kept(cli: Cli) -> None:
    assert cli("config", "api_key", "key ").code == 2
    assert "(none)" in cli("config").out


def test_a_bundle_that_is_not_there_is_not_kept(cli: Cli, bundle: Bundle) -> None:
    ended = cli("config", "bundle", "nonsense")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "no bundle at nonsense" in ended.err
    for name in ("auto", "tiny", str(bundle.root)):
        assert cli("config", "bundle", name).code == 0


@pytest.mark.parametrize(
    "prompt", ["b.png", "b.JPG", "*.png", "street.cotam", "-", "folder", "none/b.webp"]
)
def test_a_picture_is_no_question(prompt: str, cli: Cli, photo: Path, server: Any) -> None:
    (photo.parent / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(photo.parent)
        ended = cli("send", photo, prompt, "-s", server.url)
    assert ended.code == 2
    assert "the question is missing" in ended.err
    assert "how many cars?" in ended.err
    assert not server.seen


@pytest.mark.parametrize("prompt", ["what is in b.png", "b.png?", "file:b", "is this a .png"])
def test_questions_about_files_are_questions(
    prompt: str, cli: Cli, photo: Path, server: Any
) -> None:
    assert cli("send", photo, prompt, "-s", server.url).code == 0
