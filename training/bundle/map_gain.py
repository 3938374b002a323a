"""Teach a bundle's guidance graph on which pictures its level map pays.

    picture --guidance.onnx--> tokens of the last layer --mean, deviation--> gain

What the tower was trained on it looks at with reason; on other pictures the map of the same tower
costs bits (docs/notes.md, "Print and real answers"). Its tokens tell the two apart. The graph
gets a second output, `gain`: the edge sends a map where it is above 0. What decodes streams stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from scenes import WORLDS, Backgrounds, render
from scenes.pages import Fonts, render_page
from shared.bundle import GUIDANCE, Bundle, describe_files, open_bundle
from shared.errors import UsageError
from shared.libraries import import_onnxruntime
from training.bundle.copies import changed_copy, write_manifest
from training.loop.pictures import photographs

GAIN: Final = "gain"
SHAPES: Final = ((256, 256), (256, 256), (256, 160), (160, 256), (256, 192), (192, 256))
"""Width and height of what is drawn, in turn; photographs have their own, or are squares."""
COUNT: Final = 240
MOST: Final = 0.02
PENALTY: Final = 0.003
ITERATIONS: Final = 30

Part = Literal["train", "val"]
Array = NDArray[Any]
Picture = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--count", type=int, default=COUNT, help="scenes and pages that are drawn")
    parser.add_argument(
        "--most",
        type=float,
        default=MOST,
        help="share of photographs and pages that may get a map, of those that are learnt from",
    )
    parser.add_argument("--out", type=Path, required=True, help="the new bundle's directory")


def main(arguments: argparse.Namespace) -> None:
    """Write the bundle beside its place, then rename. An old one is replaced."""
    bundle = open_bundle(arguments.bundle)
    graph = without_gain(onnx.load(str(bundle.path(GUIDANCE))))
    look = Look(graph, bundle)
    known, other = _tokens(look, "train", arguments)
    weights, bias = fit(known, other, arguments.most)
    known, other = _tokens(look, "val", arguments)
    shares = [float((tokens @ weights + bias > 0).mean()) for tokens in (known, other)]
    print(
        f"of pictures kept aside, {shares[0]:.1%} of {len(known)} scenes get a map, and "
        f"{shares[1]:.1%} of {len(other)} photographs and pages"
    )
    out: Path = arguments.out
    with changed_copy(bundle, out) as folder:
        onnx.save(with_gain(graph, weights, bias), str(folder / GUIDANCE))
        write_guidance_manifest(bundle, folder)
    print(f"bundle {Bundle.open(out).hex_id} at {out}")


def token_session(graph: onnx.ModelProto) -> tuple[str, Any]:
    """What the last layer of a guidance graph is given: its name, and a session that gives it."""
    name = tokens_of(graph)
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    shown.graph.output.append(helper.make_empty_tensor_value_info(name))
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return name, session


class Look:
    """What the last layer of a guidance graph is given of a picture."""

    def __init__(self, graph: onnx.ModelProto, bundle: Bundle) -> None:
        self._side = bundle.manifest.guidance.side
        self._fill = bundle.manifest.tower.fill
        self._tokens, self._session = token_session(graph)

    def __call__(self, picture: Picture) -> Array:
        """Mean and deviation over all tokens, f64 [2 D], of a picture u8 [H, W, 3]."""
        image = Image.fromarray(picture)
        scale = self._side / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        square = np.empty((self._side, self._side, 3), np.uint8)
        square[:] = self._fill
        square[:height, :width] = image.resize((width, height), Image.Resampling.LANCZOS)
        planes = square.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
        tokens = self._session.run([self._tokens], {"picture": planes})[0][0].astype(np.float64)
        return np.concatenate([tokens.mean(axis=0), tokens.std(axis=0)])


def _tokens(look: Look, part: Part, arguments: argparse.Namespace) -> tuple[Array, Array]:
    """[N, 2 D] of scenes, and [M, 2 D] of photographs and pages, of a part of the worlds."""
    known = np.array([look(picture) for picture in _known(part, arguments.count)])
    other = np.array([look(picture) for picture in _other(part, arguments)])
    return known, other


def _known(part: Part, count: int) -> Iterator[Picture]:
    backgrounds = Backgrounds.builtin()
    for index in range(count):
        for version in WORLDS:
            yield render(part, index, backgrounds, SHAPES[index % len(SHAPES)], version).picture


def _other(part: Part, arguments: argparse.Namespace) -> Iterator[Picture]:
    for picture in photographs(arguments.data, part):
        yield picture
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        yield picture[top : top + side, left : left + side]
    fonts, backgrounds = Fonts.pinned(), Backgrounds.builtin()
    for index in range(arguments.count):
        yield render_page(part, index, fonts, backgrounds, SHAPES[index % len(SHAPES)]).picture


def fit(known: Array, other: Array, most: float) -> tuple[Array, float]:
    """Weights f64 [D] and bias of a logistic regression that is above 0 for what is known.

    Both sides count the same; the bias is lowered until no more than the share `most` of the others
    is above 0.
    """
    x = np.concatenate([known, other])
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    x = np.column_stack([(x - mean) / deviation, np.ones(len(x))])
    wanted = np.repeat([1.0, 0.0], [len(known), len(other)])
    counts = np.repeat([0.5 / len(known), 0.5 / len(other)], [len(known), len(other)])
    penalty = np.diag(np.append(np.full(x.shape[1] - 1, PENALTY), 1e-9))
    weights = np.zeros(x.shape[1])
    for _ in range(ITERATIONS):
        chance = 1 / (1 + np.exp(-x @ weights))
        slope = x.T @ ((chance - wanted) * counts) + penalty @ weights
        curvature = (x * (counts * chance * (1 - chance))[:, None]).T @ x + penalty
        weights -= np.linalg.solve(curvature, slope)
    unscaled = weights[:-1] / deviation
    bias = float(weights[-1] - unscaled @ mean)
    return unscaled, bias - max(0.0, float(np.quantile(other @ unscaled + bias, 1 - most)))


def tokens_of(graph: onnx.ModelProto) -> str:
    """Name of the tokens [1, 1 + N, D] that the last layer's attention is made of."""
    norms = [node for node in graph.graph.node if node.op_type == "LayerNormalization"]
    if not norms:
        raise UsageError(
            "the guidance graph has no layer normalization, so it is not known where its tokens are"
        )
    return str(norms[-1].output[0])


def with_gain(graph: onnx.ModelProto, weights: Array, bias: float) -> onnx.ModelProto:
    """The graph with the output `gain` f32 [1]: weights [2 D] of its tokens' mean and deviation."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    tokens = tokens_of(graph)
    constants: dict[str, Array] = {
        "axis": np.array([1], np.int64),
        "weights": weights.astype(np.float32)[:, None],
        "bias": np.array([bias], np.float32),
        "flat": np.array([-1], np.int64),
    }
    nodes: tuple[tuple[str, tuple[str, ...], str, dict[str, Any]], ...] = (
        ("ReduceMean", (tokens, _named("axis")), _named("mean"), {}),
        ("Sub", (tokens, _named("mean")), _named("away"), {}),
        ("Mul", (_named("away"), _named("away")), _named("square"), {}),
        ("ReduceMean", (_named("square"), _named("axis")), _named("variance"), {}),
        ("Sqrt", (_named("variance"),), _named("deviation"), {}),
        ("Concat", (_named("mean"), _named("deviation")), _named("both"), {"axis": 2}),
        ("MatMul", (_named("both"), _named("weights")), _named("weighed"), {}),
        ("Reshape", (_named("weighed"), _named("flat")), _named("sum"), {}),
        ("Add", (_named("sum"), _named("bias")), GAIN, {}),
    )
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, _named(name)))
    for kind, inputs, output, attributes in nodes:
        node = helper.make_node(kind, list(inputs), [output], name=output, **attributes)
        model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info(GAIN, TensorProto.FLOAT, [1]))
    onnx.checker.check_model(model)
    return model


def without_gain(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as it was before it learnt `gain`."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for part in (model.graph.node, model.graph.initializer, model.graph.output):
        kept = [
            entry for entry in part if entry.name != GAIN and not entry.name.startswith(_named(""))
        ]
        del part[:]
        part.extend(kept)
    return model


def _named(name: str) -> str:
    return f"/{GAIN}/{name}"


def write_guidance_manifest(bundle: Bundle, folder: Path) -> None:
    """The manifest of `bundle` for a folder whose guidance graph is another."""
    files = {**bundle.manifest.files, **describe_files(folder, [GUIDANCE], [GUIDANCE])}
    write_manifest(bundle.manifest.model_copy(update={"files": files}), folder)
