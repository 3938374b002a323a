"""Guidance and encoder: agreement with training, stages that can be repeated, exact symbols."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from skimage import data

from edge_client.coding.encoder import Encoder
from edge_client.guidance.guide import CELL_OF_LARGE, pool, shrink
from edge_client.pictures.images import fitted, load
from shared.bitstream import Bitstream, Limits
from shared.bundle import ENTROPY, GUIDANCE, Bundle, describe_files, find
from shared.entropy_model import EntropyModel
from shared.errors import (
    BundleError,
    CotamError,
    DecoderMismatch,
    StreamError,
    UsageError,
)
from shared.level_map import LevelMap, cell_shape, flat_codes
from shared.tiles import starts

Draw = Callable[..., np.ndarray]
EXAMPLES = Path(__file__).parents[2] / "examples"


def symbols(stream: Bitstream, model: EntropyModel) -> np.ndarray:
    """The decoded latent; its check proves that the symbols are those that were coded."""
    size = (stream.width, stream.height)
    if stream.level_map:
        codes = LevelMap.decode(stream.level_map, *size).codes(stream.quality_code, *size)
    else:
        codes = flat_codes(stream.quality_code, *size)
    return model.decode(stream.latents, stream.check, codes, stream.quality_code)


# -- guidance ---------------------------------------------------------------------------------


def test_pool_is_the_mean_of_overlapping_windows() -> None:
    row = np.array([[1.0, 2.0, 4.0]], np.float32)
    assert pool(row, (1, 2)).tolist() == [[1.5, 3.0]]
    assert pool(row, (2, 3)).tolist() == [[1, 2, 4], [1, 2, 4]]


def test_pool_is_torch_s() -> None:
    torch = pytest.importorskip("torch")
    chance = np.random.default_rng(0)
    for rows, columns, down, across in [(16, 16, 8, 8), (16, 11, 5, 6), (7, 3, 9, 2), (1, 1, 4, 5)]:
        values = chance.random((rows, columns), np.float32)
        wanted = torch.nn.functional.adaptive_avg_pool2d(
            torch.from_numpy(values)[None], (down, across)
        )
        assert np.allclose(pool(values, (down, across)), wanted[0].numpy(), atol=1e-6)


def test_pictures_lie_where_the_cloud_lays_them() -> None:
    adapter = pytest.importorskip("shared.nets.adapter")
    for width, height in [(256, 160), (1, 1), (3, 1000), (333, 77), (512, 511)]:
        at = adapter.place(width, height, 256)
        assert fitted(width, height, 256) == (at.width, at.height)


def test_importance_covers_the_picture(encoder: Encoder, draw: Draw) -> None:
    for width, height in [(256, 128), (64, 64), (1, 1), (1000, 20), (300, 700)]:
        importance, level_map = encoder.guide(draw(width, height))
        assert importance.shape == cell_shape(width, height, level_map.cell)
        assert level_map.values.shape == importance.shape
        assert np.isfinite(importance).all()
        assert (importance > 0).all()


def test_cells_are_coarser_where_the_tower_does_not_see_the_whole(
    encoder: Encoder, draw: Draw
) -> None:
    settings = encoder.bundle.manifest.guidance
    for size in (settings.side, settings.side + 1):
        _, level_map = encoder.guide(draw(size, 40))
        assert level_map.cell == (settings.cell if size == settings.side else CELL_OF_LARGE)


def test_a_flat_map_is_not_sent(encoder: Encoder, draw: Draw) -> None:
    guided = encoder.analyse(draw(256, 160))
    assert guided.level_map is not None
    assert guided.code(3).level_map
    assert not encoder.analyse(draw(256, 160), guidance=False).code(3).level_map
    assert not encoder.analyse(draw(1, 1)).code(3).level_map  # one cell has no deviation


@pytest.mark.parametrize("side", [256, 600])
def test_a_map_is_sent_where_it_is_expected_to_pay(encoder: Encoder, side: int) -> None:
    """`tiny` knows Scenes: there its map saves bits; on photographs and print it costs bits."""
    street = load(EXAMPLES / "street.png")
    assert encoder.analyse(street.repeat(2, 0).repeat(2, 1) if side > 256 else street).level_map
    for photograph in (data.coffee(), data.astronaut(), data.rocket()):
        picture = np.ascontiguousarray(photograph[:side, :side])
        assert encoder.analyse(picture).level_map is None
        _, shown = encoder.guide(picture)
        assert np.ptp(shown.values) > 0, "it can be looked at all the same"


def test_a_graph_that_tells_no_gain_has_its_maps_sent(bundle: Bundle, tmp_path: Path) -> None:
    graph = onnx.load(str(bundle.path(GUIDANCE)))
    del graph.graph.output[1]
    folder = tmp_path / "older"
    shutil.copytree(bundle.root, folder)
    onnx.save(graph, str(folder / GUIDANCE))
    files = {**bundle.manifest.files, **describe_files(folder, [GUIDANCE], [GUIDANCE])}
    older = Bundle(folder, bundle.manifest.model_copy(update={"files": files}), bundle.id)
    picture = np.ascontiguousarray(data.coffee()[:256, :256])
    assert Encoder(older, threads=1).analyse(picture).level_map is not None


def test_tiles_add_to_the_global_map(encoder: Encoder, draw: Draw) -> None:
    """Where a patch of the global map is larger than a cell, each tile has its own say."""
    settings = encoder.bundle.manifest.guidance
    guide, side = encoder._guide, settings.side
    size = 2 * side * CELL_OF_LARGE // settings.patch
    picture = draw(size, size)
    shape = cell_shape(size, size, CELL_OF_LARGE)
    patches = shrink(picture, CELL_OF_LARGE / settings.patch)
    assert patches.shape[:2] == (2 * side, 2 * side)
    whole = pool(guide._global(patches, ()).importance, shape)
    tiled = guide._tiled(patches, ()).importance
    corner = guide._global(patches[:side, :side], ()).importance
    rows = side // settings.patch
    assert np.allclose(tiled[:rows, :rows], corner / corner.mean(), rtol=1e-4)
    importance, _ = encoder.guide(picture)
    assert np.allclose(importance, whole / whole.mean() + pool(tiled, shape), rtol=1e-4)


def test_the_global_map_is_enough_where_its_patches_are_cells(encoder: Encoder, draw: Draw) -> None:
    settings = encoder.bundle.manifest.guidance
    size = settings.side * CELL_OF_LARGE // settings.patch
    picture = draw(size, size)
    importance, level_map = encoder.guide(picture)
    shape = cell_shape(size, size, level_map.cell)
    assert np.array_equal(importance, pool(encoder._guide._global(picture, ()).importance, shape))


def test_the_map_of_a_picture_of_4096_takes_the_memory_of_tiles(
    encoder: Encoder, draw: Draw
) -> None:
    size = 4096
    picture = np.tile(draw(512, 512), (8, 8, 1))
    tracemalloc.start()
    try:
        importance, level_map = encoder.guide(picture)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert importance.shape == cell_shape(size, size, level_map.cell)
    assert np.isfinite(importance).all()


@pytest.mark.parametrize(("factor", "size"), [(0.5, (70, 33)), (2, (35, 17)), (2.5, (28, 14))])
def test_shrunk_sizes_are_rounded_up(factor: float, size: tuple[int, int], draw: Draw) -> None:
    assert shrink(draw(33, 70), float(factor)).shape == (*size, 3)


@pytest.mark.parametrize(
    ("length", "corners"),
    [(100, [0]), (256, [0]), (257, [0, 16]), (600, [0, 176, 352]), (768, [0, 256, 512])],
)
def test_tile_starts_cover_evenly(length: int, corners: list[int]) -> None:
    assert starts(length, 256, 16) == corners
    assert corners[-1] + 256 >= length


def test_tiles_of_the_transform_leave_no_seams(encoder: Encoder, draw: Draw) -> None:
    picture = draw(1300, 150)
    whole = encoder._run(picture)
    tiled = encoder._transform(picture)
    assert tiled.shape == whole.shape
    # Sums in another order; where the graph has 8 bits, a few roundings fall the other way.
    assert np.abs(tiled - whole).mean() <= 1e-4 * np.abs(whole).mean()
    assert np.abs(tiled - whole).max() <= 1e-2 * np.abs(whole).max()


# -- stages -----------------------------------------------------------------------------------


def test_several_qualities_from_one_transform(encoder: Encoder, draw: Draw) -> None:
    analysed = encoder.analyse(draw(256, 160))
    sizes = [len(analysed.code(quality).to_bytes()) for quality in (0, 2, 4.5, 9)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 4
    assert set(analysed.timings_ms) == {"guidance", "analysis", "coding"}


def test_coding_takes_few_bytes_a_pixel(encoder: Encoder, draw: Draw) -> None:
    analysed = encoder.analyse(draw(1300, 1300), guidance=False)
    tracemalloc.start()
    try:
        analysed.code(5)
        assert tracemalloc.get_traced_memory()[1] < 12 * 1300 * 1300
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["beach", "field", "street", "drawn", "noise"])
@pytest.mark.parametrize("guidance", [True, False])
def test_more_quality_is_more_bytes(
    name: str, guidance: bool, encoder: Encoder, draw: Draw
) -> None:
    """Over half a step; over a quarter a stream may be a few bytes shorter."""
    chance = np.random.default_rng(0)
    picture = {
        "drawn": lambda: draw(300, 200),
        "noise": lambda: chance.integers(0, 256, (200, 200, 3), np.uint8),
    }.get(name, lambda: load(EXAMPLES / f"{name}.png"))()
    analysed = encoder.analyse(picture, guidance)
    sizes = np.array([len(analysed._code(code)[0].to_bytes()) for code in range(0, 181, 5)])
    assert (np.diff(sizes[::2]) > 0).all()
    assert (np.diff(sizes) > -0.02 * sizes[:-1] - 12).all()


@pytest.mark.parametrize("quality", [-0.1, 9.1, float("nan")])
def test_qualities_that_are_none(quality: float, encoder: Encoder, draw: Draw) -> None:
    with pytest.raises(UsageError, match="quality"):
        encoder.analyse(draw(16, 16)).code(quality)


# -- exactness --------------------------------------------------------------------------------

PICTURES = 200


def sizes() -> list[tuple[int, int]]:
    """200 sizes: 1x1 to 1000x700, most of them small."""
    chance = np.random.default_rng(3)
    edge_cases = [(1, 1), (1, 17), (16, 16), (17, 15), (64, 65), (300, 1), (1000, 700)]
    small = chance.integers(1, 120, (PICTURES - len(edge_cases), 2))
    return edge_cases + [(int(width), int(height)) for width, height in small]


@pytest.fixture(scope="module")
def streams(bundle: Bundle, draw: Draw) -> list[Bitstream]:
    """One stream of each size, over all qualities, made with one thread."""
    encoder = Encoder(bundle, threads=1)
    return [
        encoder.analyse(draw(*size, seed=i), guidance=i % 4 != 0).code(9 * i / (PICTURES - 1))
        for i, size in enumerate(sizes())
    ]


def test_float64_decodes_to_identical_symbols(bundle: Bundle, streams: list[Bitstream]) -> None:
    path = bundle.path(ENTROPY)
    single, double = EntropyModel.load(path), EntropyModel.load(path, dtype=np.float64)
    for stream in streams:
        assert np.array_equal(symbols(stream, single), symbols(stream, double))


READ_BACK = """
import sys, zlib
from pathlib import Path
from shared.bitstream import Bitstream
from shared.bundle import ENTROPY, embedded
from shared.entropy_model import EntropyModel
from shared.level_map import LevelMap, cell_shape, flat_codes
model = EntropyModel.load(embedded().path(ENTROPY))
for path in sorted(Path(sys.argv[1]).iterdir()):
    stream = Bitstream.from_bytes(path.read_bytes())
    size, code = (stream.width, stream.height), stream.quality_code
    codes = flat_codes(code, *size)
    if stream.level_map:
        codes = LevelMap.decode(stream.level_map, *size).codes(code, *size)
    print(zlib.crc32(model.decode(stream.latents, stream.check, codes, code).tobytes()))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_another_process_decodes_to_identical_symbols(
    threads: int, bundle: Bundle, streams: list[Bitstream], tmp_path: Path
) -> None:
    model = EntropyModel.load(bundle.path(ENTROPY))
    for i, stream in enumerate(streams):
        (tmp_path / f"{i:03}.cotam").write_bytes(stream.to_bytes())
    count = str(threads)
    completed = subprocess.run(
        [sys.executable, "-c", READ_BACK, str(tmp_path)],
        env={"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    checksums = [int(line) for line in completed.stdout.split()]
    assert checksums == [zlib.crc32(symbols(stream, model).tobytes()) for stream in streams]


def test_two_threads_of_the_transform_make_streams_that_decode(bundle: Bundle, draw: Draw) -> None:
    encoder = Encoder(bundle, threads=2)
    model = EntropyModel.load(bundle.path(ENTROPY))
    for i, size in enumerate([(1, 1), (130, 70), (257, 255)]):
        symbols(encoder.analyse(draw(*size, seed=i)).code(3 * i), model)


# -- damage -----------------------------------------------------------------------------------


def decode(data: bytes, bundle: Bundle, model: EntropyModel, limits: Limits) -> Bitstream:
    """The whole way of a stream on the other end, up to the latent."""
    stream = Bitstream.from_bytes(data, limits)
    find([bundle], stream.codec_id)
    symbols(stream, model)
    return stream


@pytest.fixture(scope="module")
def victim(encoder: Encoder, draw: Draw) -> Bitstream:
    return encoder.analyse(draw(100, 70, seed=5)).code(1)


def test_each_byte_changed_once_ends_in_a_documented_error(
    bundle: Bundle, victim: Bitstream
) -> None:
    model = EntropyModel.load(bundle.path(ENTROPY))
    data = victim.to_bytes()
    chance = np.random.default_rng(1)
    tracemalloc.start()
    try:
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= int(chance.integers(1, 256))
            with pytest.raises(StreamError):
                decode(bytes(changed), bundle, model, Limits())
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_each_byte_changed_under_a_right_crc(bundle: Bundle, victim: Bitstream) -> None:
    """A forged stream gets past the CRC: then an error, or a decode of the same dimensions."""
    model = EntropyModel.load(bundle.path(ENTROPY))
    body = victim.to_bytes()[:-4]
    limits = Limits(pixels=4 * 100 * 70)
    chance = np.random.default_rng(2)
    seen: set[type[CotamError]] = set()
    tracemalloc.start()
    try:
        for at in range(len(body)):
            changed = bytearray(body)
            changed[at] ^= int(chance.integers(1, 256))
            forged = bytes(changed) + zlib.crc32(changed).to_bytes(4, "little")
            try:
                decoded = decode(forged, bundle, model, limits)
            except (StreamError, BundleError) as error:
                seen.add(type(error))
            else:
                assert (decoded.width, decoded.height) == (victim.width, victim.height)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert DecoderMismatch in seen
    assert len(seen) >= 4


def test_cut_anywhere(victim: Bitstream) -> None:
    data = victim.to_bytes()
    for length in range(len(data)):
        with pytest.raises(StreamError):
            Bitstream.from_bytes(data[:length])


def test_the_check_tells_a_mismatch_from_a_transport_fault(
    bundle: Bundle, victim: Bitstream
) -> None:
    model = EntropyModel.load(bundle.path(ENTROPY))
    with pytest.raises(DecoderMismatch):
        symbols(replace(victim, check=victim.check ^ 1), model)
