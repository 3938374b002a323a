"""Pictures: every form they come in, each as a real file."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from edge_client.pictures.images import fit, load
from shared.errors import PictureError, PictureTooLarge, PictureUnreadable, UsageError

Draw = Callable[..., np.ndarray]


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, draw: Draw) -> None:
    upright = draw(24, 16)
    # Which transposition undoes each orientation, by the EXIF standard.
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(upright)
    stored = image.transpose(turn[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(load(saved(stored, exif=exif)), upright)


def test_icc_profile_is_converted_to_srgb(draw: Draw) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A real profile of other colours: sRGB's with the tags of red and blue exchanged.
    swapped = srgb.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    red = Image.new("RGB", (8, 8), (250, 20, 20))
    as_is = load(saved(red, icc_profile=srgb)).astype(int)
    changed = load(saved(red, icc_profile=swapped)).astype(int)
    assert np.abs(as_is - (250, 20, 20)).max() <= 2
    assert np.abs(changed - (20, 20, 250)).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "LA", "I;16"])
def test_bands_of_a_tall_picture_leave_no_seams(mode: str, draw: Draw) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"icc_profile": profile} if mode.startswith("RGB") else {}
    if mode == "I;16":
        image = Image.fromarray(draw(20, 600)[:, :, 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(draw(20, 600)).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    parts = [image.crop((0, top, 20, top + 100)) for top in range(0, 600, 100)]
    loaded = [load(saved(part, form, **options)) for part in parts]
    assert np.array_equal(load(saved(image, form, **options)), np.concatenate(loaded))


def test_a_large_picture_is_whole_once(draw: Draw) -> None:
    data = saved(Image.fromarray(np.tile(draw(500, 500), (4, 4, 1))), "JPEG")
    tracemalloc.start()
    try:
        picture = load(data)
        assert tracemalloc.get_traced_memory()[1] < 1.6 * picture.nbytes
    finally:
        tracemalloc.stop()


def test_a_broken_icc_profile_is_ignored(draw: Draw) -> None:
    picture = draw(8, 8)
    data = saved(Image.fromarray(picture), icc_profile=b"no profile at all")
    assert np.array_equal(load(data), picture)


def test_cmyk() -> None:
    data = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert load(data)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)


def test_sixteen_bit_grey_is_scaled() -> None:
    values = np.array([[0, 257 * 100, 65_535]], np.uint16)
    assert load(saved(Image.fromarray(values)))[0, :, 0].tolist() == [0, 100, 255]


def test_sixteen_bit_array_is_scaled() -> None:
    values = np.full((2, 2, 3), 257 * 100, np.uint16)
    assert (load(values) == 100).all()


def test_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert load(saved(image, transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_alpha_lies_on_white() -> None:
    image = Image.new("RGBA", (1, 1), (255, 0, 0, 51))
    assert load(saved(image))[0, 0].tolist() == [255, 204, 204]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "F", "I"])
def test_grey_modes(mode: str) -> None:
    image = Image.new("L", (3, 2), 255).convert(mode)
    assert (load(image) == 255).all()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(form: str, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert load(data, "film")[0, 0].tolist() == [255, 0, 0]
    assert caplog.messages == ["film has several frames: the first is taken"]


def test_a_jpeg_is_decoded_no_larger_than_it_must(draw: Draw) -> None:
    data = saved(Image.fromarray(draw(1600, 1200)), "JPEG", quality=95)
    small = load(data, longest=100)
    assert small.shape == (150, 200, 3)
    whole = fit(load(data), 100, model=100).astype(int)
    assert np.abs(fit(small, 100, model=100).astype(int) - whole).mean() < 2


def test_cmyk_and_grey_jpegs_may_be_decoded_smaller_too() -> None:
    for mode, colour in (("CMYK", (0, 255, 255, 0)), ("L", 200)):
        data = saved(Image.new(mode, (800, 640), colour), "JPEG")
        assert load(data, longest=50).shape == (80, 100, 3)


def test_heic(draw: Draw) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    picture = draw(64, 48)
    loaded = load(saved(Image.fromarray(picture), "HEIF")).astype(int)
    assert np.abs(loaded - picture).mean() < 10


def test_jpeg_xl(draw: Draw) -> None:
    pytest.importorskip("pillow_jxl")
    picture = draw(64, 48)
    loaded = load(saved(Image.fromarray(picture), "JXL")).astype(int)
    assert np.abs(loaded - picture).mean() < 10


@pytest.mark.parametrize(
    ("module", "data", "extra"),
    [
        ("pillow_heif", b"\0\0\0\x18ftypheic" + bytes(20), "pip install pillow-heif"),
        ("pillow_jxl", b"\xff\x0a" + bytes(20), "pip install pillow-jxl-plugin"),
    ],
)
def test_a_missing_reader_is_named(
    module: str, data: bytes, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PictureUnreadable, match=extra):
        load(data)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "TIFF", "BMP"])
def test_formats(form: str, draw: Draw) -> None:
    picture = draw(64, 48)
    loaded = load(saved(Image.fromarray(picture), form)).astype(int)
    assert np.abs(loaded - picture).mean() < 8


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_shapes(size: tuple[int, int], draw: Draw) -> None:
    assert load(saved(Image.fromarray(draw(*size)))).shape == (size[1], size[0], 3)


def test_sources_agree(photo: Path, draw: Draw) -> None:
    wanted = draw(256, 160)
    with photo.open("rb") as file:
        assert np.array_equal(load(file), wanted)
    for source in (photo, str(photo), photo.read_bytes(), Image.open(photo), wanted):
        assert np.array_equal(load(source), wanted)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no bytes"),
        (b"\n", "not a picture"),
        (b"just some text, no picture", "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "it.png"),
    ],
)
def test_what_is_no_picture(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "it.png"
    path.write_bytes(data)
    with pytest.raises(PictureUnreadable, match=message) as caught:
        load(path)
    assert "it.png" in str(caught.value)


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PictureUnreadable, match="does not exist"):
        load(tmp_path / "none.png")
    with pytest.raises(PictureUnreadable, match="folder"):
        load(tmp_path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_truncated_anywhere_is_an_error_of_ours(form: str, draw: Draw) -> None:
    data = saved(Image.fromarray(draw(48, 40)), form)
    for length in range(1, len(data) - 16, max(1, len(data) // 40)):
        try:
            load(data[:length])
        except PictureError:
            continue
        # A palette picture or a JPEG may lack padding at its end and still be whole.
        assert length > len(data) // 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM"])
def test_damage_is_an_error_of_ours_or_a_picture(form: str, draw: Draw) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if form in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF") else {}
    data = saved(Image.fromarray(draw(24, 16)), form, **options)
    chance = np.random.default_rng(8)
    for _ in range(150):
        changed = bytearray(data)
        for at in chance.integers(0, len(data), int(chance.integers(1, 6))):
            changed[at] = chance.integers(256)
        try:
            loaded = load(bytes(changed))
        except PictureError:
            continue
        assert loaded.dtype == np.uint8
        assert loaded.shape[2] == 3


def test_broken_metadata_does_not_matter(draw: Draw) -> None:
    picture = draw(16, 16)
    data = saved(Image.fromarray(picture), exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense")
    assert np.array_equal(load(data), picture)


def bomb(side: int) -> bytes:
    """A real PNG of side x side black pixels, one bit each."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bomb(20_000)
    # Without its pixels the message is the same: they were never looked at.
    for part in (data, data[:64]):
        with pytest.raises(PictureTooLarge, match="limit of 100000000"):
            load(part)


@pytest.mark.parametrize("array", [np.zeros((2, 2, 5), np.uint8), np.zeros((0, 2), np.uint8)])
def test_arrays_that_are_no_pictures(array: np.ndarray) -> None:
    with pytest.raises(PictureUnreadable, match="array"):
        load(array)


@pytest.mark.parametrize(
    ("size", "resolution", "wanted"),
    [
        ((4000, 3000), "model", (256, 192)),
        ((3000, 4000), "model", (192, 256)),
        ((200, 100), "model", (200, 100)),
        ((600, 10), 300, (300, 5)),
        ((600, 1), 100, (100, 1)),
        ((600, 400), "native", (600, 400)),
    ],
)
def test_resolution_keeps_aspect_and_never_enlarges(
    size: tuple[int, int], resolution: int | str, wanted: tuple[int, int]
) -> None:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    height, width = fit(picture, resolution, model=256).shape[:2]
    assert (width, height) == wanted


def test_resolution_of_nothing() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        fit(np.zeros((4, 4, 3), np.uint8), 0, model=256)


def test_scaling_averages() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = fit(stripes, 16, model=256)[2:-2, 2:-2].astype(int)
    assert np.abs(inner - 128).max() <= 3
