"""Streams as a format of Pillow's."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

import plugins.pillow
from cloud_server import decode
from edge_client.coding.picture_coder import PictureCoder
from shared.bitstream import MEDIA_TYPE, Bitstream
from shared.bundle import Bundle

ROOT = Path(__file__).parents[2]
STREET = ROOT / "examples" / "street.png"


@pytest.fixture(scope="module")
def stream() -> bytes:
    file = io.BytesIO()
    with Image.open(STREET) as image:
        image.save(file, "COTAM", quality=3)
    return file.getvalue()


def test_a_saved_picture_is_opened_with_its_size_and_decoded_when_it_is_needed(
    stream: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "street.cotam"
    path.write_bytes(stream)
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("COTAM", (256, 256), "RGB")
        assert image.get_format_mimetype() == MEDIA_TYPE
        assert image.info["quality"] == 3
        assert image._im is None, "the size comes from the header"
        assert np.array_equal(np.asarray(image), np.asarray(decode(stream)))


def test_a_file_of_layers_is_as_good_as_its_last(
    continuing_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(STREET) as image:
        coded = PictureCoder(continuing_bundle, quality=1.0, threads=1).code(image)
    data = coded.stream.to_bytes() + coded.enhancement(None, 4.5)
    monkeypatch.setattr("cloud_server.decoding.embedded_bundles", lambda: [continuing_bundle])
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["quality"] == 4.5
        assert np.array_equal(np.asarray(image), np.asarray(decode(data)))


def test_the_suffix_names_the_format(tmp_path: Path) -> None:
    with Image.open(STREET) as image:
        image.save(tmp_path / "a.cotam", quality=0)
        image.save(tmp_path / "b.cotam", budget=700)
    small, larger = ((tmp_path / name).stat().st_size for name in ("a.cotam", "b.cotam"))
    assert small < 665 <= larger <= 700


def test_what_is_saved_is_what_the_edge_codes(stream: bytes) -> None:
    assert Bitstream.from_bytes(stream).quality == 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_a_picture_of_any_mode_can_be_saved(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (20, 30)).save(file, "COTAM")
    assert Image.open(file).convert("L").size == (20, 30)


def test_an_opened_stream_behaves_like_any_picture(stream: bytes) -> None:
    image = Image.open(io.BytesIO(stream))
    copied = pickle.loads(pickle.dumps(image))
    assert np.array_equal(np.asarray(copied), np.asarray(image.copy()))
    assert image.resize((10, 10)).size == (10, 10)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_ends_in_an_error_of_pillows(data: st.DataObject, stream: bytes) -> None:
    damaged = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(2, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged[: data.draw(st.integers(3, len(stream)))])
    if cut == stream:
        return
    with pytest.raises(UnidentifiedImageError, match="CoTAM stream"):
        Image.open(io.BytesIO(cut))


def test_a_stream_of_weights_that_are_not_here_says_so_when_it_is_decoded(stream: bytes) -> None:
    parsed = Bitstream.from_bytes(stream)
    foreign = Bitstream(**{**vars(parsed), "codec_id": b"\1\2\3\4"}).to_bytes()
    image = Image.open(io.BytesIO(foreign))
    for _ in range(2):
        with pytest.raises(OSError, match="01020304"):
            image.load()


@pytest.mark.parametrize("option", [{"quality": 11}, {"budget": 3}])
def test_what_cannot_be_had_is_a_value_error(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"quality|bytes"):
        Image.new("RGB", (64, 64)).save(io.BytesIO(), "COTAM", **option)


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    """A program that never meets a stream pays for Pillow alone."""
    code = (
        "import sys, plugins.pillow, plugins.vllm;"
        "heavy = {'torch', 'onnxruntime', 'transformers', 'numpy', 'fastapi'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_plugin_is_registered_once() -> None:
    assert Image.registered_extensions()[".cotam"] == plugins.pillow.FORMAT
