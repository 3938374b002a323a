"""The command line: data, talk, exit codes; bad input at every joint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.bitstream import Bitstream

Cli = Callable[..., Any]


def one_line(err: str) -> str:
    """The complaint, which is one line and no traceback."""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_encode_then_inspect(cli: Cli, tmp_path: Path, draw: Callable[..., np.ndarray]) -> None:
    Image.fromarray(draw(256, 256)).save(tmp_path / "a.png")
    coded = cli("encode", tmp_path / "a.png")
    assert (coded.code, coded.out) == (0, "")
    assert "256x256 at quality 3" in coded.err
    stream = tmp_path / "a.cotam"
    assert coded.err.endswith(f", written to {stream}\n")
    seen = cli("inspect", stream, "--map", tmp_path / "map.png", "--verify")
    assert seen.code == 0
    assert "16x16 cells of 16 pixels, quality 1.5 or 4.5" in seen.out
    assert "verified" in seen.out
    with Image.open(tmp_path / "map.png") as image:
        assert image.size == (256, 256)
    facts = json.loads(cli("inspect", stream, "--json").out)
    assert facts["overhead"] <= 24
    assert facts["bytes"] == stream.stat().st_size
    assert len(facts["level_map"]["rows"]) == 16


def test_encode_through_pipes(cli: Cli, photo: Path) -> None:
    coded = cli("encode", photo, "-o", "-", "--no-guidance", "-q", "2.5", "-r", "64")
    # The stream is bytes; the capture decodes text, so only its start is looked at here.
    assert coded.code == 0
    assert "64x40 at quality 2.5" in coded.err
    named = cli("encode", "-", "-o", photo.with_suffix(".x"), "--json", stdin=photo.read_bytes())
    facts = json.loads(named.out)
    assert (facts["width"], facts["height"]) == (256, 160)
    data = photo.with_suffix(".x").read_bytes()
    flat = cli("inspect", "-", "--map", photo.with_suffix(".png"), stdin=data)
    assert flat.code == 0


@pytest.mark.parametrize(("text", "most"), [("600", 600), ("0.7kB", 700), ("1KiB", 1024)])
def test_budget(text: str, most: int, cli: Cli, photo: Path) -> None:
    assert cli("encode", photo, "--budget", text).code == 0
    assert most * 0.9 < photo.with_suffix(".cotam").stat().st_size <= most


def test_a_phone_s_photo_is_coded_at_the_model_s_resolution(cli: Cli, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned; the picture is upright after a quarter
    exif.get_ifd(0x8825)[1] = "N"
    Image.effect_noise((4000, 3000), 40).convert("RGB").save(tmp_path / "p.jpg", exif=exif)
    assert cli("encode", tmp_path / "p.jpg").code == 0
    stream = Bitstream.from_bytes((tmp_path / "p.cotam").read_bytes())
    assert (stream.width, stream.height) == (192, 256)


def test_send(cli: Cli, photo: Path, server: Any) -> None:
    sent = cli("send", photo, "how large?", "--server", server.url)
    assert (sent.code, sent.out) == (0, "256 by 160\n")
    assert "256x160 sent as" in sent.err
    quiet = cli("send", "-", "how large?", "-s", server.url, "--quiet", stdin=photo.read_bytes())
    assert (quiet.code, quiet.out, quiet.err) == (0, "256 by 160\n", "")
    facts = json.loads(cli("send", photo, "how large?", "-s", server.url, "--json").out)
    assert (facts["answer"], facts["view"]) == ("256 by 160", "adapter")


def test_precedence_of_settings(
    cli: Cli, photo: Path, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "xdg-config" / "cotam" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'server = "{server.url}"\napi_key = "from file"\n')
    assert cli("send", photo, "?").code == 0
    monkeypatch.setenv("COTAM_API_KEY", "from-environment")
    assert cli("send", photo, "?").code == 0
    assert cli("send", photo, "?", "--api-key", "from-flag").code == 0
    keys = [seen.headers["authorization"].removeprefix("Bearer ") for seen in server.seen]
    assert keys == ["from file", "from-environment", "from-flag"]
    monkeypatch.setenv("COTAM_SERVER_URL", "http://127.0.0.1:1")
    assert cli("send", photo, "?", "--retries", 0).code == 4
    assert cli("send", photo, "?", "-s", server.url).code == 0


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("server = 3", "server as text"),
        ("sever = 'x'", "unknown key: sever"),
        ("server = ", "not TOML"),
        ("server = 'example'", "'example'"),
    ],
)
def test_config_files_that_are_wrong(
    text: str, part: str, cli: Cli, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    monkeypatch.setenv("COTAM_CONFIG", str(path))
    ended = cli("send", photo, "?")
    assert ended.code == 2
    assert part in one_line(ended.err)
    assert "config.toml" in ended.err


def test_bad_pictures(cli: Cli, tmp_path: Path) -> None:
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.png"
    text.write_text("not a picture")
    empty.write_bytes(b"")
    for command in (["encode"], ["send"]):
        tail = ["?"] if command == ["send"] else []
        for path in (text, empty, tmp_path / "none.png"):
            ended = cli(*command, path, *tail)
            assert ended.code == 3
            assert path.name in one_line(ended.err)
            assert ended.out == ""


@pytest.mark.parametrize("prompt", ["", " ", "x" * 1_000_000, "what is \udcff?"])
def test_bad_prompts(prompt: str, cli: Cli, photo: Path) -> None:
    ended = cli("send", photo, prompt)
    assert ended.code == 2
    assert "prompt" in one_line(ended.err)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--bundle", "nope"], "no bundle at nope"),
        (["--resolution", "huge"], "'huge'"),
        (["--resolution", "-3"], "'-3'"),
        (["--server", "localhost:8000"], "'localhost:8000'"),
        (["--budget", "little"], "--budget is 'little'"),
        (["--budget", "-3"], "--budget is '-3'"),
        (["--budget", "600", "-q", "2"], "exclude each other"),
        (["--budget", "20B"], "smallest possible stream has"),
    ],
)
def test_bad_options(arguments: list[str], part: str, cli: Cli, photo: Path) -> None:
    ended = cli("send", photo, "?", *arguments)
    assert ended.code == 2
    assert part in one_line(ended.err)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["encode", "-q", "11", "photo.png"], "'-q'"),
        (["encode", "-q", "good", "photo.png"], "valid number"),
        (["encode"], "no picture is named"),
        (["encode", "--qualty", "3"], "--qualty"),
        (["inspect"], "STREAM"),
        (["send"], "PROMPT"),
        (["send", "photo.png", "?", "--concurrency", "0"], "--concurrency"),
        (["send", "?", "--watch", "no-such-folder"], "no folder to watch"),
        (["spool"], "edge_client spool -h"),
        (["spool", "flsh"], "flsh"),
        (["no-such-command"], "no-such-command"),
        (["config", "server"], "server"),
    ],
)
def test_usage_errors_are_one_line_and_2(words: list[str], part: str, cli: Cli) -> None:
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert part in one_line(ended.err)


def test_without_a_command_there_is_help(cli: Cli) -> None:
    ended = cli()
    assert ended.code == 2
    for command in ("send", "encode", "inspect", "spool", "bundle"):
        assert command in ended.out


def test_a_server_that_refuses(cli: Cli, photo: Path, server: Any, problem: Any) -> None:
    server.replies = [
        problem(401, "key_missing", "this server wants a key"),
        problem(503, "overloaded", "the queue is full", instance="r-9"),
        problem(409, "bundle_unknown", "that bundle is not here", bundles=["00112233"]),
    ]
    codes, lines = [], []
    for _ in range(3):
        ended = cli("send", photo, "?", "-s", server.url, "--retries", 0, "--no-spool")
        codes.append(ended.code)
        lines.append(one_line(ended.err))
    assert codes == [5, 6, 1]
    assert "COTAM_API_KEY" in lines[0]
    assert "[request r-9]" in lines[1]
    assert "00112233" in lines[2]


def test_inspect_of_what_is_no_stream(cli: Cli, photo: Path, tmp_path: Path) -> None:
    cli("encode", photo)
    data = photo.with_suffix(".cotam").read_bytes()
    for bad in (b"", data[:3], data[: len(data) // 2], photo.read_bytes(), data + b"!"):
        ended = cli("inspect", "-", stdin=bad)
        assert ended.code == 1
        one_line(ended.err)
    ended = cli("inspect", tmp_path / "none.cotam")
    assert ended.code == 2
    assert "none.cotam" in one_line(ended.err)


def test_output_that_cannot_be_written(cli: Cli, photo: Path, tmp_path: Path) -> None:
    ended = cli("encode", photo, "-o", tmp_path / "no" / "such" / "folder.cotam")
    assert ended.code == 2
    assert "cannot be written" in one_line(ended.err)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif"])
def test_no_metadata_in_a_stream(
    suffix: str, cli: Cli, tmp_path: Path, draw: Callable[..., np.ndarray]
) -> None:
    picture = Image.fromarray(draw(64, 48))
    exif = Image.Exif()
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (48.0, 51.0, 29.6), "E", (2.0, 17.0, 40.2)
    exif[0x010F] = "SECRETMAKER"
    picture.save(tmp_path / f"plain.{suffix}")
    picture.save(tmp_path / f"tagged.{suffix}", exif=exif)
    with Image.open(tmp_path / f"tagged.{suffix}") as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N"
    for name in ("plain", "tagged"):
        assert cli("encode", tmp_path / f"{name}.{suffix}").code == 0
    tagged = (tmp_path / "tagged.cotam").read_bytes()
    assert tagged == (tmp_path / "plain.cotam").read_bytes()
    assert b"SECRETMAKER" not in tagged


def test_config(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "127.0.0.1:8000" in cli("config").out
    assert cli("config", "server", "http://edge.test/").code == 0
    assert cli("config", "api_key", 'a "quoted" key').code == 0
    path = tmp_path / "xdg-config" / "cotam" / "config.toml"
    assert path.stat().st_mode & 0o077 == 0
    shown = cli("config")
    assert "http://edge.test " in shown.out
    assert "quoted" not in shown.out
    monkeypatch.setenv("COTAM_SERVER_URL", "http://other.test")
    records = [json.loads(line) for line in cli("config", "--json").out.splitlines()]
    assert records[0] == {
        "key": "server",
        "value": "http://other.test",
        "from": "COTAM_SERVER_URL",
    }
    assert "api_key removed from" in cli("config", "api_key", "--unset").err
    assert "api_key was not in" in cli("config", "api_key", "--unset").err
    assert "api_key" not in path.read_text()
    for wrong in (["sever", "x"], ["server"], ["server", "x", "--unset"]):
        assert cli("config", *wrong).code == 2


def test_bench(cli: Cli, photo: Path) -> None:
    completed = cli("bench", photo, "--repeat", 1, "--threads", 1, "--json")
    facts = json.loads(completed.out)
    assert set(facts["steps_ms"]) == {"load", "guidance", "analysis", "coding"}
    assert facts["peers"]["jpeg"]["bytes"] > 0
    assert "of ours" in cli("bench", photo, "--repeat", 1, "--threads", 1).out


def test_names_that_cannot_be(cli: Cli, tmp_path: Path) -> None:
    for name in ("x" * 1_000_000, "nul\0byte.png", "not\udcfftext.png"):
        ended = cli("send", name, "?")
        assert ended.code == 3
        assert len(one_line(ended.err)) < 2_000


def test_interrupted_output(photo: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads our output may leave early (head): an exit code, no traceback."""
    cli("encode", photo)

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("edge_client.cli.console.output.Output.data", broken)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    ended = cli("inspect", photo.with_suffix(".cotam"))
    assert (ended.code, ended.err) == (1, "")


def test_native_resolution(cli: Cli, tmp_path: Path, draw: Callable[..., np.ndarray]) -> None:
    Image.fromarray(draw(600, 300)).save(tmp_path / "large.png")
    assert cli("encode", tmp_path / "large.png", "--resolution", "native").code == 0
    facts = json.loads(cli("inspect", tmp_path / "large.cotam", "--json", "--verify").out)
    assert (facts["width"], facts["height"]) == (600, 300)
    assert [len(row) for row in facts["level_map"]["rows"]] == [19] * 10
