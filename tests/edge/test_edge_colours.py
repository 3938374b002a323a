"""Every mode in which Pillow hands pictures over, with the values that a person would expect."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from edge_client.pictures.images import load

SRGB = ImageCms.createProfile("sRGB")
NAN, INF = float("nan"), float("inf")
WHITE = [255, 255, 255]


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def row(mode: str, *values: Any) -> Image.Image:
    """A picture of one row."""
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def greys(source: Any) -> list[int]:
    """The first row, which must be grey."""
    picture = load(source)
    assert (picture == picture[:, :, :1]).all()
    return picture[0, :, 0].tolist()


COLOURS = {
    "1": (row("1", 0, 255), [[0, 0, 0], WHITE]),
    "L": (row("L", 7, 200), [[7, 7, 7], [200, 200, 200]]),
    "LA": (row("LA", (200, 255), (0, 51)), [[200, 200, 200], [204, 204, 204]]),
    "La": (row("LA", (0, 51), (9, 0)).convert("La"), [[204, 204, 204], WHITE]),
    "RGB": (row("RGB", (1, 2, 3)), [[1, 2, 3]]),
    "RGBA": (row("RGBA", (255, 0, 0, 51), (9, 9, 9, 0)), [[255, 204, 204], WHITE]),
    "RGBa": (row("RGBA", (255, 0, 0, 51), (9, 9, 9, 0)).convert("RGBa"), [[255, 204, 204], WHITE]),
    "RGBX": (row("RGBX", (1, 2, 3, 77)), [[1, 2, 3]]),
    "CMYK": (row("CMYK", (0, 255, 255, 0), (0, 0, 0, 255)), [[255, 0, 0], [0, 0, 0]]),
    "YCbCr": (row("YCbCr", (128, 128, 128), (76, 85, 255)), [[128, 128, 128], [254, 0, 0]]),
    "HSV": (row("HSV", (170, 255, 255), (0, 0, 90)), [[0, 0, 255], [90, 90, 90]]),
}


@pytest.mark.parametrize("mode", COLOURS)
def test_modes_of_eight_bits(mode: str) -> None:
    image, wanted = COLOURS[mode]
    assert image.mode == mode
    assert load(image)[0].tolist() == wanted


def test_lab() -> None:
    colours = row("RGB", (200, 60, 50), (128, 128, 128), (60, 60, 200))
    image = ImageCms.profileToProfile(
        colours, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert image is not None
    for source in (image, saved(image, "TIFF")):
        assert np.abs(load(source).astype(int) - np.asarray(colours)).max() <= 7


def palette(*colours: Sequence[int], mode: str = "RGB") -> Image.Image:
    image = row("P", *range(len(colours)))
    image.putpalette([value for colour in colours for value in colour], mode)
    return image


def test_palettes() -> None:
    image = palette((10, 20, 30), (255, 0, 0), (0, 0, 0))
    assert load(image)[0].tolist() == [[10, 20, 30], [255, 0, 0], [0, 0, 0]]
    # A place that is clear, a clearness for each place, a palette with alpha, alpha beside it.
    for source in (saved(image, "PNG", transparency=2), saved(image, "GIF", transparency=2)):
        assert load(source)[0].tolist() == [[10, 20, 30], [255, 0, 0], WHITE]
    by_place = saved(image, "PNG", transparency=bytes((255, 51, 0)))
    assert load(by_place)[0].tolist() == [[10, 20, 30], [255, 204, 204], WHITE]
    with_alpha = palette((10, 20, 30, 255), (255, 0, 0, 51), (0, 0, 0, 0), mode="RGBA")
    assert load(with_alpha)[0].tolist() == [[10, 20, 30], [255, 204, 204], WHITE]
    beside = image.convert("PA")
    beside.putalpha(row("L", 255, 51, 0))
    assert beside.mode == "PA"
    assert load(beside)[0].tolist() == [[10, 20, 30], [255, 204, 204], WHITE]


@pytest.mark.parametrize(
    ("image", "clear", "wanted"),
    [
        (row("1", 0, 255), 0, [WHITE, WHITE]),
        (row("L", 7, 8), 7, [WHITE, [8, 8, 8]]),
        (row("RGB", (1, 2, 3), (1, 2, 4)), (1, 2, 3), [WHITE, [1, 2, 4]]),
        (row("I;16", 257, 514), 257, [WHITE, [2, 2, 2]]),
    ],
)
def test_one_colour_that_is_clear(image: Image.Image, clear: Any, wanted: Any) -> None:
    assert load(saved(image, "PNG", transparency=clear))[0].tolist() == wanted


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "RGBX"])
def test_profiles_hold_in_every_mode(mode: str) -> None:
    """Of a profile with a gamma of 1 values become brighter; greys of it likewise."""
    profile = grey_profile() if mode in ("L", "LA") else linear_profile()
    image = row("RGB", (64, 64, 64), (255, 255, 255)).convert(mode)
    if mode == "P":
        image = palette((64, 64, 64), (255, 255, 255))
    form = "TIFF" if mode == "RGBX" else "PNG"
    assert greys(saved(image, form, icc_profile=profile)) == pytest.approx([137, 255], abs=2)


def linear_profile() -> bytes:
    """sRGB's profile with straight lines for its curves."""
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    return profile_with(profile, {b"rTRC": CURVE, b"gTRC": CURVE, b"bTRC": CURVE})


def grey_profile() -> bytes:
    """The least of a profile: white, and a straight line for grey."""
    profile = bytearray(ImageCms.ImageCmsProfile(SRGB).tobytes()[:128])
    profile[16:20] = b"GRAY"
    white = b"XYZ \0\0\0\0" + bytes.fromhex("0000f6d6 00010000 0000d32d")
    return profile_with(bytes(profile) + bytes(4), {b"wtpt": white, b"kTRC": CURVE})


CURVE = b"curv" + bytes(8)  # of no points: the value as it is


def profile_with(profile: bytes, changed: dict[bytes, bytes]) -> bytes:
    """An ICC profile with other tags; its head is the first 128 bytes, then a table of tags."""
    count = int.from_bytes(profile[128:132], "big")
    tags = {}
    for at in range(132, 132 + 12 * count, 12):
        start, size = (int.from_bytes(profile[at + k : at + k + 4], "big") for k in (4, 8))
        tags[profile[at : at + 4]] = profile[start : start + size]
    tags |= changed
    place = 132 + 12 * len(tags)
    table, body = b"", b""
    for name, data in tags.items():
        numbers = (place + len(body), len(data))
        table += name + b"".join(number.to_bytes(4, "big") for number in numbers)
        body += data + bytes(-len(data) % 4)
    head = (place + len(body)).to_bytes(4, "big") + profile[4:128]
    return head + len(tags).to_bytes(4, "big") + table + body


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_sixteen_bits_of_any_byte_order(mode: str) -> None:
    assert greys(row(mode, 0, 100 * 257, 65_535)) == [0, 100, 255]


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_of_a_file(form: str, dtype: str) -> None:
    values = np.array([[0, 1, 100 * 257, 65_535]], dtype)
    assert greys(saved(Image.fromarray(values), form)) == [0, 0, 100, 255]


@pytest.mark.parametrize(("most", "values"), [(1023, (0, 512, 1023)), (65_535, (0, 100, 200))])
def test_a_grey_map_says_what_white_is(most: int, values: Sequence[int]) -> None:
    body = b"".join(value.to_bytes(2, "big") for value in values)
    wanted = [round(255 * value / most) for value in values]
    assert greys(b"P5 3 1 %d\n" % most + body) == pytest.approx(wanted, abs=1)


DEEP = {
    "up to 1": ([0.0, 0.25, 1.0], [0, 64, 255]),
    "dark, up to 1": ([0.0, 0.1, 0.2], [0, 26, 51]),
    "a little over 1": ([0.0, 0.6, 1.2], [0, 128, 255]),
    "up to 255": ([0.0, 100.0, 250.0], [0, 100, 250]),
    "up to 65535": ([0.0, 25_700.0, 51_400.0], [0, 100, 200]),
    "metres": ([0.0, 4.0, 8.0], [0, 128, 255]),
    "over everything": ([0.0, 5e9, 1e10], [0, 128, 255]),
    "below zero": ([-1000.0, 0.0, 1000.0], [0, 128, 255]),
    "between -1 and 1": ([-0.5, 0.0, 0.5], [0, 128, 255]),
    "one NaN": ([NAN, 0.5, 1.0], [0, 128, 255]),
    "infinities": ([-INF, INF, 0.5, 1.0], [0, 255, 128, 255]),
    "nothing else": ([NAN, NAN], [0, 0]),
    "all the same, below zero": ([-3.0, -3.0], [0, 0]),
    "all zero": ([0.0, 0.0], [0, 0]),
}


@pytest.mark.parametrize("case", DEEP)
def test_floats(case: str) -> None:
    values, wanted = DEEP[case]
    image = Image.fromarray(np.array([values], np.float32))
    assert image.mode == "F"
    for source in (image, saved(image, "TIFF")):
        assert greys(source) == pytest.approx(wanted, abs=1)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0, 100, 200], [0, 100, 200]),
        ([0, 25_700, 65_535], [0, 100, 255]),
        ([0, 50_000, 100_000], [0, 128, 255]),
        ([-1000, 0, 1000], [0, 128, 255]),
        ([0, 1, 2], [0, 128, 255]),
    ],
)
def test_whole_numbers_of_32_bits(values: list[int], wanted: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.int32))
    assert image.mode == "I"
    assert greys(image) == pytest.approx(wanted, abs=1)
    assert greys(saved(image, "TIFF")) == pytest.approx(wanted, abs=1)


def test_one_hot_pixel_does_not_make_a_picture_black() -> None:
    values = np.linspace(0, 1, 40_000, dtype=np.float32).reshape(200, 200)
    picture = load(Image.fromarray(values))
    spoilt = values.copy()
    spoilt[50, 50], spoilt[60, 60], spoilt[70, 70] = 3.4e38, -3.4e38, NAN
    loaded = load(saved(Image.fromarray(spoilt), "TIFF"))
    assert loaded[50, 50, 0] == 255
    assert loaded[60, 60, 0] == loaded[70, 70, 0] == 0
    same = np.isfinite(spoilt) & (np.abs(spoilt) < 2)
    assert np.array_equal(loaded[same], picture[same])


def tiff(values: np.ndarray, tags: dict[int, int | bytes]) -> bytes:
    """A TIFF of one strip, written by hand: what Pillow can read and not write."""
    kinds = {"u": 1, "i": 2, "f": 3}
    height, width = values.shape
    entries: dict[int, int | bytes] = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1}
    entries |= {262: 1, 277: 1, 278: height, 279: values.nbytes, 339: kinds[values.dtype.kind]}
    entries |= tags
    entries[273] = 8 + 2 + 12 * (len(entries) + 1) + 4
    directory = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        if isinstance(value, bytes):
            directory += struct.pack("<HHI4s", tag, 2, 4, value)
        else:
            directory += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + values.tobytes()


@pytest.mark.parametrize(
    ("values", "tags", "wanted"),
    [
        (np.array([[0, 2**31, 2**32 - 1]], "<u4"), {}, [0, 128, 255]),
        (np.array([[-1000, 0, 1000]], "<i2"), {}, [0, 128, 255]),
        (np.array([[-99.0, 0.0, 0.5, 1.0]], "<f4"), {42_113: b"-99\0"}, [0, 0, 128, 255]),
        # White is 0 in these: Pillow turns only those of 8 bits round.
        (np.array([[0, 100 * 257, 65_535]], "<u2"), {262: 0}, [255, 155, 0]),
        (np.array([[0.0, 0.25, 1.0]], "<f4"), {262: 0}, [255, 191, 0]),
    ],
)
def test_what_a_tiff_says_of_its_values(
    values: np.ndarray, tags: dict[int, int | bytes], wanted: list[int]
) -> None:
    assert greys(tiff(values, tags)) == pytest.approx(wanted, abs=1)


def test_twelve_bits() -> None:
    packed = np.array([[0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00]], np.uint8)  # 0, 2048, 4095, 0
    data = tiff(packed, {256: 4, 258: 12})
    assert greys(data) == pytest.approx([0, 128, 255, 0], abs=1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "I;16", "F"])
def test_what_is_shrunk_as_it_is_read_is_the_mean(mode: str) -> None:
    values = np.arange(600 * 900, dtype=np.uint32).reshape(600, 900) % 251
    image = Image.fromarray((values * 257).astype(np.uint16))
    if mode == "F":
        image = Image.fromarray((values / 255).astype(np.float32))
    elif mode != "I;16":
        image = Image.fromarray(values.astype(np.uint8)).convert(mode)
    whole = load(image).astype(np.float64)
    small = load(image, longest=100)
    means = whole.reshape(150, 4, 225, 4, 3).mean((1, 3))
    assert small.shape == means.shape
    assert np.abs(small - means).max() <= 0.6
