"""A classifier from a file judges pictures: its answers, its probability, bits at equal score."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from PIL import Image
from skimage import data

from edge_client.coding.encoder import Analysed
from evaluation.codecs.cotam import CotamCodec, Received
from evaluation.codecs.senders import own
from evaluation.commands.pictures import classifying
from evaluation.judges.classifier import Classifier
from evaluation.stats.bootstrap import resamples
from evaluation.stats.equal_score import Scores, changes
from scenes import Backgrounds, render
from shared.bundle import Bundle
from shared.errors import UsageError

RED, GREEN, BLUE = (200, 40, 30), (20, 210, 60), (10, 30, 190)


def onnx_file(path: Path) -> Path:
    """Says which colour of a picture is the strongest: the mean of each channel, times ten."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def tflite_file(path: Path) -> Path:
    """The same of bytes, whose means sum to more than 1: the classifier makes shares of them."""

    def tensor(name: bytes, shape: list[int], kind: int, buffer: int) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
        if kind == schema.TensorType.UINT8:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [1 / 64], [0]
        return made

    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    buffers = [schema.BufferT(), schema.BufferT()]
    buffers[1].data = np.array([1, 2], np.int32).view(np.uint8).tolist()
    graph.tensors = [
        tensor(b"x", [1, 16, 12, 3], schema.TensorType.UINT8, 0),
        tensor(b"axes", [2], schema.TensorType.INT32, 1),
        tensor(b"y", [1, 3], schema.TensorType.UINT8, 0),
    ]
    graph.inputs, graph.outputs = [0], [2]
    operator.inputs, operator.outputs = [0, 1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    operator.builtinOptions = schema.ReducerOptionsT()
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.mark.parametrize(("make", "name"), [(onnx_file, "c.onnx"), (tflite_file, "c.tflite")])
def test_a_classifier_of_either_form_answers(
    make: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    classifier = Classifier(make(tmp_path / name))
    for answer, colour in enumerate((RED, GREEN, BLUE)):
        picture = np.broadcast_to(np.array(colour, np.uint8), (40, 30, 3)).copy()
        probabilities = classifier.probabilities(picture)
        assert probabilities.shape == (3,)
        assert probabilities.sum() == pytest.approx(1.0)
        assert int(probabilities.argmax()) == answer
        assert probabilities[answer] > 0.5


def test_values_are_scaled_as_the_network_was_trained(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "c.onnx")
    grey = np.full((16, 12, 3), 128, np.uint8)
    scores = {
        values: Classifier(file, values).probabilities(grey)  # type: ignore[arg-type]
        for values in ("unit", "signed", "imagenet")
    }
    assert scores["unit"] == pytest.approx(np.full(3, 1 / 3))
    assert scores["signed"] == pytest.approx(np.full(3, 1 / 3))
    assert scores["imagenet"].argmax() == 2  # blue has the lowest mean


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.tflite", None, "is no file"),
        ("photo.png", b"", "neither .tflite nor .onnx"),
        ("broken.tflite", b"no model", "cannot be read"),
        ("broken.onnx", b"no model", "cannot be read"),
    ],
)
def test_what_is_no_classifier_is_said_in_one_line(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        Classifier(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:
    """What the command is told about two small pictures."""
    folder = tmp_path_factory.mktemp("classifying")
    (folder / "photos").mkdir()
    for index in range(2):
        picture = render("test", index, Backgrounds(), (96, 80)).picture
        Image.fromarray(picture).save(folder / "photos" / f"{index}.png")
    return argparse.Namespace(
        classifier=[onnx_file(folder / "colour.onnx")],
        pictures=folder / "photos",
        most=0,
        input="signed",
        sure=None,
        write_sure=None,
        bundle="tiny",
        qualities=[1.0, 3.0],
        mapped_qualities=[1.0, 3.0],
        resamples=20,
        threads=1,
        report=folder / "docs" / "results.md",
        results=folder / "runs",
        words=("classifying", "--pictures", str(folder / "photos")),
    )


def test_a_small_run_writes_table_and_plot_and_is_not_repeated(run: argparse.Namespace) -> None:
    classifying.main(run)
    written = run.report.read_text()
    assert "`python -m evaluation classifying --pictures photos`" in written
    assert str(run.pictures.parent) not in written
    assert "| flat against AVIF |" in written
    assert "| mapped against flat |" in written
    assert (run.report.parent / "img" / "classifying.png").stat().st_size > 1000
    before = (run.results / "classifying.jsonl").read_bytes()
    classifying.main(run)
    assert (run.results / "classifying.jsonl").read_bytes() == before
    assert run.report.read_text() == written


def test_several_classifiers_are_told_apart(
    run: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own changes of bits; what they look at is sent once."""
    sent: list[float] = []
    codec_send = CotamCodec.send

    def counted(self: CotamCodec, analysed: Analysed, quality: float) -> Received:
        sent.append(quality)
        return codec_send(self, analysed, quality)

    monkeypatch.setattr(CotamCodec, "send", counted)
    both = [onnx_file(tmp_path / "one.onnx"), tflite_file(tmp_path / "other.tflite")]
    options = {"classifier": both, "results": tmp_path / "runs", "report": tmp_path / "results.md"}
    classifying.main(argparse.Namespace(**{**vars(run), **options, "mapped_qualities": []}))
    written = (tmp_path / "results.md").read_text()
    assert "`one.onnx` (SHA-256" in written
    assert "`other.tflite` (SHA-256" in written
    assert "mapped against" not in written
    assert sorted(sent) == [1.0, 1.0, 3.0, 3.0]


def test_where_no_map_pays_both_ways_to_send_are_one(bundle: Bundle) -> None:
    cotam = CotamCodec(bundle)
    flat, mapped = (own(cotam, guidance, (3.0,)) for guidance in (False, True))
    photograph = np.ascontiguousarray(data.coffee()[:256, :256])
    ready = mapped.prepare(photograph)
    assert ready.identity == flat.prepare(photograph).identity
    assert ready.send(3.0)[0] == len(cotam.encode(cotam.analyse(photograph, True), 3.0))
    scene = render("test", 0, Backgrounds.builtin()).picture
    assert mapped.prepare(scene).identity != flat.prepare(scene).identity


def test_sure_pictures_are_listed_before_anything_is_coded_and_told_apart(
    run: argparse.Namespace, tmp_path: Path
) -> None:
    names = tmp_path / "sure.txt"
    options = {**vars(run), "results": tmp_path / "runs", "report": tmp_path / "results.md"}
    classifying.main(argparse.Namespace(**{**options, "write_sure": names}))
    assert not (tmp_path / "runs").exists()
    assert set(names.read_text().split()) <= {"0.png", "1.png"}
    names.write_text("1.png\n")
    classifying.main(argparse.Namespace(**{**options, "sure": names}))
    assert "the 1 pictures that `sure.txt` names" in (tmp_path / "results.md").read_text()
    names.write_text("other.png\n")
    with pytest.raises(UsageError, match="names none of the pictures"):
        classifying.main(argparse.Namespace(**{**options, "sure": names}))


def test_half_the_bytes_at_the_same_score_are_half_the_bits() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 50, 30).astype(np.float64)
    sizes = np.outer([100.0, 200.0, 400.0, 800.0], rng.uniform(0.5, 2, 30))
    points = np.outer([0.2, 0.5, 0.7, 0.9], weights)
    drawn = resamples(30, 40)
    anchor = Scores(sizes, points, weights)
    change = changes(anchor, Scores(sizes / 2, points, weights), drawn, 0.3, 0.8)
    assert change == pytest.approx(np.full(41, -0.5))
    assert np.isnan(changes(anchor, anchor, drawn, 0.3, 0.95)).all()  # it does not reach 0.95
    some = np.arange(30) < 10
    few = changes(anchor.only(some), anchor.only(some), resamples(10, 5), 0.3, 0.8)
    assert few == pytest.approx(np.zeros(6), abs=1e-12)
