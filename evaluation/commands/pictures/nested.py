"""What layers cost: a stream and its enhancements against one stream of the last quality."""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_client.coding.continuing import CodedPicture
from edge_client.coding.encoder import Analysed, Encoder
from edge_client.pictures.images import Picture
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import resamples, with_interval
from shared.bundle import Bundle, open_bundle
from shared.coding.symbol_coder import BIT_PRICE
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.layers.known import Known
from training.codec.crops import PageStream, scene_stream
from training.loop.pictures import photographs

SIDE: Final = 256
PATHS: Final = ((0, 2), (0, 3), (1, 4), (2, 5), (0, 2, 4), (0, 1.5, 3))
TIMED: Final = (0, 3)
TURNS: Final = 5
BARS: Final = {2: 8, 3: 14}
"""By number of layers: percent over the fine stream alone that they should stay below."""
UNKNOWN_PRICE: Final = 0.0
"""The price with which an enhancement does not say at which its base was coded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--most", type=int, default=12, help="pictures of each kind")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--guidance", action="store_true", help="code with the level map")
    parser.add_argument("--threads", type=int, default=1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write the section."""
    bundle = open_bundle(arguments.bundle)
    encoder = Encoder(bundle, arguments.threads)
    records = Records(arguments.results / "nested.jsonl")
    key = {"bundle": bundle.hex_id, "guidance": arguments.guidance}
    measured: dict[str, list[Fields]] = {}
    for world, pictures in worlds(arguments.data, arguments.most).items():
        measured[world] = [
            records.measure(
                {**key, "crc": zlib.crc32(picture.tobytes())},
                measure,
                encoder,
                picture,
                arguments.guidance,
            )
            for picture in tqdm(pictures, desc=world, unit="picture")
        ]
    write_section(arguments.report, "nested", text(arguments, bundle, measured))


def worlds(data: Path, most: int) -> dict[str, list[Picture]]:
    """Pictures u8 [256, 256, 3] of validation: Scenes, centres of photographs, Pages."""
    scenes = scene_stream("val", data).batch(most, (SIDE, SIDE))
    large = [photo for photo in photographs(data, "val") if min(photo.shape[:2]) >= SIDE]
    pages = PageStream("val", data)
    return {
        "Scenes": [sample.picture for sample in scenes],
        "photographs": [_centre(photo) for photo in large[:most]],
        "Pages": [pages.page((SIDE, SIDE)) for _ in range(most)],
    }


def measure(encoder: Encoder, picture: Picture, guidance: bool) -> Fields:
    """Bytes of each layer and of the last quality alone, squared errors of the latents, by path;
    milliseconds of processor time of coding and reading."""
    analysed = encoder.analyse(picture, guidance)
    paths = {_name(path): _path(analysed, path) for path in PATHS}
    return {"paths": paths, "ms": _times(analysed)}


def _path(analysed: Analysed, path: tuple[float, ...]) -> Fields:
    first, *others = path
    stream, alone = analysed.code(first), analysed.code(path[-1])
    sizes = {}
    for name, price in (("restricted", BIT_PRICE), ("unrestricted", UNKNOWN_PRICE)):
        coded = CodedPicture(analysed, stream, price)
        layers = [coded.enhancement(None, quality) for quality in others]
        sizes[name] = [len(stream.to_bytes()), *map(len, layers)]
        if name == "restricted":
            known = Known.read(stream, analysed.model, map(Enhancement.from_bytes, layers))
    errors = [
        float(np.square(each.latent(analysed.model) - analysed.latent).mean())
        for each in (known, Known.read(alone, analysed.model))
    ]
    return {**sizes, "alone": len(alone.to_bytes()), "errors": errors}


def _times(analysed: Analysed) -> dict[str, float]:
    """Of a plain stream, and of enhancements of the whole picture and of a quarter of it."""
    base, fine = TIMED
    model = analysed.model
    stream, alone = analysed.code(base), analysed.code(fine)
    known = Known.read(stream, model)
    quarter = [(row, column) for row in range(2, 6) for column in range(2, 6)]
    times = {
        "plain, code": _ms(lambda: analysed.code(fine)),
        "plain, read": _ms(lambda: Known.read(alone, model)),
    }
    for name, cells in (("whole", None), ("quarter", Cells.at(quarter, SIDE, SIDE))):
        layer = Enhancement.from_bytes(CodedPicture(analysed, stream).enhancement(cells, fine))
        codes, mask = known.plan(cells, layer.quality_code, model)
        times[f"{name}, code"] = _ms(
            lambda codes=codes, mask=mask, layer=layer: model.encode(  # type: ignore[misc]
                analysed.latent,
                codes,
                layer.quality_code,
                before=known.latents,
                mask=mask,
                price_before=layer.price_before,
            )
        )
        times[f"{name}, read"] = _ms(lambda layer=layer: known.continued(layer, model))  # type: ignore[misc]
    return times


def _ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(TURNS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def text(arguments: argparse.Namespace, bundle: Bundle, measured: dict[str, list[Fields]]) -> str:
    """The table of overheads, and the times."""
    rows = []
    for world, fields in measured.items():
        weights = resamples(len(fields)).astype(np.float64)
        bytes_at = _alone_at(fields)
        for path in PATHS:
            each = [picture["paths"][_name(path)] for picture in fields]
            alone = weights @ np.array([record["alone"] for record in each])
            over_alone, unrestricted_over_alone = (
                weights @ np.array([sum(record[name]) for record in each]) / alone - 1
                for name in ("restricted", "unrestricted")
            )
            layers = np.mean([record["restricted"] for record in each], 0)
            errors = np.mean([record["errors"] for record in each], 0)
            rows.append(
                [
                    f"{world}, {_name(path)}",
                    " + ".join(f"{size:,.0f}" for size in layers),
                    f"{alone[0] / len(each):,.0f}",
                    with_interval(over_alone),
                    f"{100 * unrestricted_over_alone[0]:+.1f} %",
                    f"{10 * np.log10(errors[0] / errors[1]):+.2f} dB",
                    f"{100 * (sum(layers) / bytes_at(errors[0]) - 1):+.1f} %",
                ]
            )
    bars = ", ".join(f"{bar} % with {count} layers" for count, bar in BARS.items())
    maps = "with" if arguments.guidance else "without"
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Whole files of bundle {bundle.hex_id}, mean bytes; {len(fields)} pictures of 256x256 "
            f"of validation each, {maps} level maps. *Over alone*: all layers over one stream of "
            "the last quality, the middle 95 % of resampled pictures in brackets; the bars are "
            f"{bars}. *Unrestricted*: the same without section 4.7 of the format. *Error*: squared "
            "error of the decoded latents over that of the one stream. *At equal error*: all "
            "layers over one stream of their error, between those that were measured.",
            table([*_HEAD, "at equal error"], rows),
            _speed([picture["ms"] for fields in measured.values() for picture in fields]),
        ]
    )


def _alone_at(fields: list[Fields]) -> Callable[[float], float]:
    """Mean bytes of one stream by the squared error of its latents: straight between the last
    qualities of all paths, both in logarithms."""
    points = {}
    for path in PATHS:
        each = [picture["paths"][_name(path)] for picture in fields]
        error = np.mean([record["errors"][1] for record in each])
        points[path[-1]] = np.log([error, np.mean([record["alone"] for record in each])])
    errors, sizes = np.array([points[quality] for quality in sorted(points, reverse=True)]).T

    def at(error: float) -> float:
        k = int(np.clip(np.searchsorted(errors, np.log(error)), 1, len(errors) - 1))
        slope = (sizes[k] - sizes[k - 1]) / (errors[k] - errors[k - 1])
        return float(np.exp(sizes[k] + slope * (np.log(error) - errors[k])))

    return at


def _speed(times: list[dict[str, float]]) -> str:
    base, fine = TIMED
    rows = [
        [
            name,
            *(f"{median(picture[f'{name}, {what}'] for picture in times):.1f}" for what in _DONE),
        ]
        for name in ("plain", "whole", "quarter")
    ]
    return (
        "Milliseconds of processor time for the entropy coding alone, one thread (median of the "
        f"pictures, least of {TURNS} turns): *plain*, a stream of quality {fine}; an enhancement "
        f"from {base} to {fine} of the *whole* picture, and of a *quarter* of its cells.\n\n"
        + table(["", *_DONE], rows)
    )


_HEAD: Final = ("qualities", "layers", "alone", "over alone", "unrestricted", "error")
_DONE: Final = ("code", "read")


def _name(path: tuple[float, ...]) -> str:
    return " -> ".join(f"{quality:g}" for quality in path)


def _centre(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = ((side - SIDE) // 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE])
