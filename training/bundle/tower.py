"""A bundle for somebody's own model: a codec that exists, guidance and adapter of its tower.

bundle -- encoder.onnx, entropy.npz, decoder.safetensors, unchanged ---+
run    -- guidance.onnx (8 bits), adapter.safetensors, TowerSpec ------+--> bundle, checked

Of a run for the bundle's own tower the adapter alone is new: all else stays, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

from shared import bundle as bundles
from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError
from shared.nets.adapter import save_adapter
from shared.nets.guidance import TowerGuidance
from shared.nets.model_files import load_vision
from shared.nets.vision import Vision
from shared.tower import TowerSpec, same_tower
from training.bundle.checks import differences, example_picture, run_graph
from training.bundle.graphs import check_graphs, write_onnx
from training.codec.quantise import quantise_guidance
from training.loop.runner import spent
from training.tower.runs import load_tower_run

EDGE: Final = (bundles.GUIDANCE, bundles.ENCODER, bundles.PRINT, bundles.ENTROPY)
KEPT: Final = (bundles.ENCODER, bundles.ENTROPY, bundles.DECODER, bundles.PRINT)
EXACT: Final = 1e-3  # of the largest importance, between ONNX and torch in float32
QUANTISED: Final = 0.1  # of the mean importance, root mean square, in 8 bits


def export_tower(arguments: argparse.Namespace) -> None:
    """Write the bundle beside its place, check it, then rename. An old one is replaced.

    Raises UsageError where the run does not fit the bundle or the model has changed since.
    """
    base = open_bundle(arguments.bundle)
    adapter, info = load_tower_run(arguments.tower)
    if info["codec"] != base.codec_id.hex():
        raise UsageError(
            f"the run was trained for codec {info['codec']}, the bundle {base.manifest.name} has "
            f"{base.codec_id.hex()}",
            hint="export with the bundle that it was trained with",
        )
    spec = TowerSpec.model_validate(info["tower"])
    vision = load_vision(info["mllm"], torch.device("cpu"), torch.float32)
    if not same_tower(spec.fingerprint, vision.fingerprint):
        raise UsageError(f"the tower of {info['mllm']} is not the one that the run was trained for")
    own = same_tower(base.manifest.tower.fingerprint, spec.fingerprint)
    if own:
        spec = base.manifest.tower
    vision.layout = spec.layout
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        beside = Path(folder) / out.name
        beside.mkdir()
        for name in base.manifest.files if own else filter(base.has, KEPT):
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base.path(name), beside / name)
        line = f"all but the adapter is that of {base.manifest.name}"
        if not own:
            line = _guidance(vision, base, beside)
        save_adapter(adapter, beside / bundles.ADAPTER)
        (beside / bundles.ADAPTER).chmod(0o644)
        manifest = _manifest(base, spec, info, beside, arguments)
        (beside / bundles.MANIFEST).write_text(
            json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
        )
        made = Bundle.open(beside)
        check_graphs(made)
        if made.codec_id != base.codec_id:
            raise UsageError(f"the codec of {base.manifest.name} did not stay as it was")
        if out.exists():
            shutil.rmtree(out)
        beside.replace(out)
    print(line)
    size = sum(file.bytes for file in made.manifest.files.values()) / 1e6
    print(f"bundle {made.hex_id} of codec {made.codec_id.hex()} at {out}, {size:.1f} MB")


def _guidance(vision: Vision, base: Bundle, folder: Path) -> str:
    """Write guidance.onnx; of a tower that takes any shape, that of the base. Returns a line."""
    path = folder / bundles.GUIDANCE
    if vision.grid is None:
        shutil.copyfile(base.path(bundles.GUIDANCE), path)
        return f"guidance of {base.manifest.name}: this tower has no square of its own"
    module = TowerGuidance(vision).eval()
    square = example_picture(module.side, module.side)
    with torch.no_grad():
        wanted = module(square)
        write_onnx(module, square, path, ("importance",), {})
    exact = differences(wanted, run_graph(path, square))[0] / float(wanted.max())
    quantise_guidance(path)
    rough = differences(wanted, run_graph(path, square))[1] / float(wanted.mean())
    line = f"guidance.onnx against torch: {exact:.1e} of the largest, {rough:.1%} in 8 bits"
    if exact > EXACT or rough > QUANTISED:
        raise UsageError(f"the export is not what was trained: {line}")
    return line


def _manifest(
    base: Bundle, spec: TowerSpec, info: dict[str, Any], folder: Path, arguments: argparse.Namespace
) -> bundles.Manifest:
    guidance = base.manifest.guidance
    if spec.grid is not None:
        square = {"side": spec.grid * spec.patch, "patch": spec.patch}
        guidance = guidance.model_copy(update=square)
    steps, seconds = spent(arguments.tower, "tower").values()
    trained = {"steps": steps, "minutes": round(seconds / 60, 1)}
    if spec != base.manifest.tower:
        trained = {"model": info["mllm"], **trained}
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return bundles.Manifest.model_validate(
        {
            **base.manifest.model_dump(),
            "name": arguments.name,
            "version": arguments.version,
            "resolution": info["resolution"],
            "guidance": guidance.model_dump(),
            "tower": spec.model_dump(),
            "files": {
                name: entry.model_dump()
                for name, entry in bundles.describe_files(folder, names, EDGE).items()
            },
            "provenance": {**base.manifest.provenance, "adapter": trained},
        }
    )
