"""Teach a bundle's guidance graph where a picture shows what the words of its world name.

    picture --guidance.onnx--> tokens of the last layer --3x3 convolution--> shown [words, ...]

A CLIP that is contrastive at [CLS] says little of single patches: the joint space of `tiny` finds
an object's patches worse than one linear layer on the tokens that the graph has already. Scenes
tell exactly what is where. The graph gets a third output, `shown`, and its metadata the words; an
edge that is told to focus asks for it. Codec, streams and the other outputs stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from tqdm import tqdm

from scenes import COLOURS, KINDS, WORLDS, Backgrounds, Scene, render
from scenes.world import PLURALS
from shared.bundle import GUIDANCE, Bundle, open_bundle
from shared.errors import UsageError
from training.bundle.copies import changed_copy
from training.bundle.map_gain import token_session, tokens_of, write_guidance_manifest

SHOWN: Final = "shown"
WORDS: Final = "words"
KNOWN: Final = (*KINDS, *COLOURS)
"""What the channels of `shown` stand for."""
SEEN: Final = 10  # pixels of a thing in a patch from which the patch shows it
FOUND: Final = 2.0  # what a patch that shows something counts for
STEPS: Final = 900
BATCH: Final = 24
RATE: Final = 4e-3

Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--count", type=int, default=750, help="scenes of each world to learn from")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, required=True, help="the new bundle's directory")


def main(arguments: argparse.Namespace) -> None:
    """Write the bundle beside its place, then rename. An old one is replaced."""
    bundle = open_bundle(arguments.bundle)
    graph = without_shown(onnx.load(str(bundle.path(GUIDANCE))))
    look = TokensOf(graph, bundle)
    head = fit(*looked(look, "train", arguments.count), arguments.steps)
    tokens, shown = looked(look, "val", max(1, arguments.count // 10))
    with torch.no_grad():
        predicted = head(tokens).sigmoid() > 0.1
    print(
        f"of {len(tokens)} scenes kept aside, patches that show what a word names are told with a "
        f"recall of {float(predicted[shown > 0].float().mean()):.3f} and a precision of "
        f"{float(shown[predicted].mean()):.3f}"
    )
    out: Path = arguments.out
    with changed_copy(bundle, out) as folder:
        onnx.save(with_shown(graph, head, bundle), str(folder / GUIDANCE))
        write_guidance_manifest(bundle, folder)
    print(f"bundle {Bundle.open(out).hex_id} at {out}")


def channels() -> dict[str, int]:
    """The channel of each word that questions may name a thing or colour by."""
    words = {word: number for number, word in enumerate(KNOWN)}
    return words | {PLURALS[kind]: words[kind] for kind in KINDS}


class TokensOf:
    """What the last layer of a guidance graph is given of the patches of a square picture."""

    def __init__(self, graph: onnx.ModelProto, bundle: Bundle) -> None:
        settings = bundle.manifest.guidance
        self.side, self.rows = settings.side, settings.side // settings.patch
        self._tokens, self._session = token_session(graph)

    def __call__(self, scene: Scene) -> Array:
        """f32 [D, rows, columns] of a scene of the graph's size."""
        planes = scene.picture.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
        tokens = self._session.run([self._tokens], {"picture": planes})[0][0]
        grid: Array = tokens[-self.rows * self.rows :].T.reshape(-1, self.rows, self.rows)
        return grid


def looked(look: TokensOf, part: Any, count: int) -> tuple[Tensor, Tensor]:
    """Tokens [N, D, rows, columns] of scenes, and what each patch shows [N, words, ...], 0 or 1."""
    backgrounds = Backgrounds.builtin()
    tokens, shown = [], []
    for index in tqdm(range(count), desc=f"scenes, {part}", unit="scene"):
        for version in WORLDS:
            scene = render(part, index, backgrounds, (look.side, look.side), version)
            tokens.append(torch.from_numpy(look(scene)).half())
            shown.append(torch.from_numpy(_shown(scene, look.rows)))
    return torch.stack(tokens).float(), torch.stack(shown)


def _shown(scene: Scene, rows: int) -> Array:
    """Whether each patch shows what each of KNOWN names, f32 [words, rows, rows]."""
    patch = scene.mask.shape[0] // rows
    blocks = scene.mask.reshape(rows, patch, rows, patch)
    pixels = np.zeros((len(KNOWN), rows, rows), np.int64)
    for number, thing in enumerate(scene.objects, start=1):
        visible = (blocks == number).sum((1, 3))
        for name in (thing.kind, thing.colour):
            pixels[KNOWN.index(name)] += visible
    return (pixels >= SEEN).astype(np.float32)


def fit(tokens: Tensor, shown: Tensor, steps: int) -> nn.Conv2d:
    """A 3x3 convolution [D -> words] whose sigmoid is how likely a patch shows what is named."""
    torch.manual_seed(0)
    head = nn.Conv2d(tokens.shape[1], shown.shape[1], 3, padding=1)
    with torch.no_grad():
        head.weight.mul_(0.1)
        head.bias.fill_(-3.0) if head.bias is not None else None
    optimiser = torch.optim.AdamW(head.parameters(), RATE, weight_decay=1e-2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        chosen = torch.randint(len(tokens), (BATCH,))
        loss = F.binary_cross_entropy_with_logits(
            head(tokens[chosen]), shown[chosen], pos_weight=torch.tensor(FOUND)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head


def with_shown(graph: onnx.ModelProto, head: nn.Conv2d, bundle: Bundle) -> onnx.ModelProto:
    """The graph with the output `shown` f32 [1, words, rows, columns] and the words as metadata.

    Raises UsageError where it holds other tokens than patches after [CLS].
    """
    settings = bundle.manifest.guidance
    rows = settings.side // settings.patch
    if bundle.manifest.tower.leading != 1:
        raise UsageError("the words are learnt on the patches of a tower with [CLS]")
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    assert head.bias is not None
    constants: dict[str, Array] = {
        "first": np.array([1], np.int64),
        "last": np.array([1 + rows * rows], np.int64),
        "axis": np.array([1], np.int64),
        "shape": np.array([1, head.in_channels, rows, rows], np.int64),
        "weight16": head.weight.detach().numpy().astype(np.float16),
        "bias": head.bias.detach().numpy().astype(np.float32),
    }
    nodes: tuple[tuple[str, tuple[str, ...], str, dict[str, Any]], ...] = (
        ("Slice", (tokens_of(graph), *map(_named, ("first", "last", "axis"))), "patches", {}),
        ("Transpose", (_named("patches"),), "turned", {"perm": [0, 2, 1]}),
        ("Reshape", (_named("turned"), _named("shape")), "grid", {}),
        ("Cast", (_named("weight16"),), "weight", {"to": TensorProto.FLOAT}),
        ("Conv", tuple(map(_named, ("grid", "weight", "bias"))), "logits", {"pads": [1] * 4}),
        ("Sigmoid", (_named("logits"),), "", {}),
    )
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, _named(name)))
    for kind, inputs, output, attributes in nodes:
        name = _named(output) if output else SHOWN
        model.graph.node.append(helper.make_node(kind, [*inputs], [name], name=name, **attributes))
    shape = [1, head.out_channels, rows, rows]
    model.graph.output.append(helper.make_tensor_value_info(SHOWN, TensorProto.FLOAT, shape))
    helper.set_model_props(model, {**_metadata(model), WORDS: json.dumps(channels())})
    onnx.checker.check_model(model)
    return model


def without_shown(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as it was before it learnt `shown`."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for part in (model.graph.node, model.graph.initializer, model.graph.output):
        kept = [
            entry for entry in part if entry.name != SHOWN and not entry.name.startswith(_named(""))
        ]
        del part[:]
        part.extend(kept)
    rest = {name: value for name, value in _metadata(model).items() if name != WORDS}
    helper.set_model_props(model, rest)
    return model


def _metadata(graph: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in graph.metadata_props}


def _named(name: str) -> str:
    return f"/{SHOWN}/{name}"
