"""A stream becomes a picture: by one call, and by `cloud_server decode`."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cloud_server import decode
from cloud_server.cli import cli
from cloud_server.inference.decoder import Decoder, device_of
from shared.bitstream import Bitstream
from shared.bundle import Bundle, embedded_bundles
from shared.errors import (
    BundleMissing,
    BundleUnknown,
    StreamCorrupt,
    StreamForeign,
    StreamTruncated,
    UsageError,
)


@pytest.fixture
def folder(tmp_path: Path, streams: list[bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: `a.cotam`, `b.cotam` and `c.cotam`."""
    for name, stream in zip("abc", streams, strict=True):
        (tmp_path / f"{name}.cotam").write_bytes(stream)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["decode", *arguments], input=stdin)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_one_call_gives_what_the_service_decodes(bundle: Bundle, folder: Path) -> None:
    raw = (folder / "b.cotam").read_bytes()
    wanted = Decoder(bundle, device_of("cpu")).decode(Bitstream.from_bytes(raw)).picture
    assert wanted.shape == (170, 256, 3)
    for stream in (raw, "b.cotam", folder / "b.cotam"):
        assert np.array_equal(np.asarray(decode(stream)), wanted)
    assert np.array_equal(np.asarray(decode(raw, bundles=[bundle.root])), wanted)


def test_bad_streams_are_errors_of_ours(folder: Path, stream: bytes) -> None:
    for raw, error in (
        (b"", StreamTruncated),
        (b"GIF89a of old", StreamForeign),
        (stream[:-9], StreamCorrupt),
        (stream[:60] + bytes([stream[60] ^ 1]) + stream[61:], StreamCorrupt),
    ):
        with pytest.raises(error):
            decode(raw)
    with pytest.raises(UsageError, match=r"nowhere\.cotam cannot be read: No such file"):
        decode("nowhere.cotam")
    with pytest.raises(BundleMissing, match="no bundle at nonsense"):
        decode(stream, bundles=["nonsense"])
    with pytest.raises(BundleUnknown, match="name the folder of a bundle of that codec"):
        decode(stream, bundles=["tiny-joint"])


def test_all_embedded_bundles_are_tried_the_default_first(bundle: Bundle) -> None:
    names = [embedded.manifest.name for embedded in embedded_bundles()]
    assert names == ["tiny", *sorted(set(names) - {"tiny"})]
    assert embedded_bundles()[0].id == bundle.id


def test_pictures_lie_beside_their_streams_and_nothing_is_lost(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save("a.png")  # what a.cotam was made of
    completed = run("a.cotam", "b.cotam")
    assert (completed.exit_code, completed.stdout) == (0, "")
    assert completed.stderr == "a.decoded.png: 256x256\nb.decoded.png: 256x170\n"
    assert (size(folder / "a.png"), size(folder / "b.decoded.png")) == ((8, 8), (256, 170))

    (folder / "a.decoded.png").write_bytes(b"mine")
    again = run("a.cotam")
    assert again.exit_code == 2
    assert again.stderr == "cloud_server: a.cotam: a.decoded.png exists (--force writes over it)\n"
    assert (folder / "a.decoded.png").read_bytes() == b"mine"
    assert run("a.cotam", "--force", "--quiet").stderr == ""
    assert size(folder / "a.decoded.png") == (256, 256)


def test_a_file_a_folder_or_a_pipe(folder: Path) -> None:
    for name, kind in (("x.png", "PNG"), ("x.JPG", "JPEG"), ("x.webp", "WEBP")):
        assert run("c.cotam", "-o", name).exit_code == 0
        with Image.open(folder / name) as image:
            assert (image.format, image.size) == (kind, (100, 256))
    assert run(".", "-o", "out").exit_code == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    piped = run("-", stdin=(folder / "c.cotam").read_bytes())
    assert piped.stdout_bytes == (folder / "out/c.png").read_bytes()
    assert run("c.cotam", "-o", "-").stdout_bytes == piped.stdout_bytes
    with Image.open(io.BytesIO(piped.stdout_bytes)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(decode("c.cotam")))


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(folder: Path) -> None:
    Path("empty").mkdir()
    Path("other").mkdir()
    (folder / "other/a.cotam").write_bytes((folder / "a.cotam").read_bytes())
    before = sorted(folder.rglob("*"))
    for arguments, line in (
        (("a.cotam", "-o", "a.txt"), "a.txt names no picture"),
        (("a.cotam", "b.cotam", "-o", "-"), "2 pictures do not fit into one pipe"),
        (("empty",), "there is no stream in empty"),
        (("a.cotam", "-o", "nowhere/a.png"), "cannot be written: No such file or directory"),
        (("a.cotam", "-o", "a.cotam/"), "a.cotam/ is no folder"),
        (("nowhere.cotam",), "nowhere.cotam cannot be read"),
        (("a.cotam", "--bundle", "nonsense"), "there is no bundle at nonsense"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 2, arguments
        assert refused.stderr.count("\n") == 1
        assert line in refused.stderr
        assert sorted(folder.rglob("*")) == before
    twice = run("a.cotam", "other/a.cotam", "-o", "out", "--force")
    assert twice.exit_code == 1
    assert "out/a.png is the picture of another stream already" in twice.stderr


def test_a_batch_goes_on_after_a_bad_stream(folder: Path) -> None:
    (folder / "b.cotam").write_bytes(b"no stream")
    completed = run(".", "-o", "out/")
    assert completed.exit_code == 1
    assert completed.stderr.splitlines()[1].startswith("cloud_server: b.cotam: ")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "c.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
def test_a_full_disk_behind_the_pipe_is_one_line(folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        completed = subprocess.run(
            [sys.executable, "-m", "cloud_server", "decode", "c.cotam", "-o", "-"],
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert completed.returncode == 2
    assert completed.stderr == (
        "cloud_server: c.cotam: standard output cannot be written: No space left on device\n"
    )
