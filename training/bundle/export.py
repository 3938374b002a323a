"""Make a bundle of finished runs, and check that what it holds computes what was trained.

runs -> encoder.onnx, guidance.onnx, entropy.npz, decoder.safetensors, adapter.safetensors, mllm/
     -> the first two in 8 bits (--quantise)
     -> manifest.json (hashes, numbers, provenance) -> checks -> renamed into place
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from shared import bundle as bundles
from shared.errors import UsageError
from shared.level_map import CELLS, LEVELS, MAX_STEP, STEP_UNIT
from shared.nets.adapter import save_adapter
from shared.nets.codec import Codec
from shared.nets.fingerprint import fingerprint_of
from shared.nets.guidance import Guidance
from training.bundle.checks import differences, example_picture, require, run_graph
from training.bundle.codec import check_codec, codec_settings, export_codec, write_codec
from training.bundle.continuing import export_continuing
from training.bundle.graphs import check_graphs, write_onnx
from training.bundle.tower import export_tower
from training.codec.quantise import quantise_guidance
from training.codec.trainer import load_codec
from training.loop.runner import load_checkpoint, spent
from training.loop.square import DEVIATION, MEAN, PATCH, SIDE
from training.small_models.conversion import convert_tower
from training.tower.qualities import MAP_CELL, MAP_K, MAP_LEVELS
from training.tower.runs import load_adapter_run

MLLM_WEIGHTS = "model.safetensors"
GUIDANCE_ERROR = 0.1  # of the mean importance, root mean square, of a graph in 8 bits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tower", type=Path, help="folder of a tower run: the codec is --bundle's")
    parser.add_argument(
        "--continuing",
        type=Path,
        help="folder of an `entropy --continuing` run of --bundle's codec",
    )
    parser.add_argument("--print-map", type=Path, help="folder of a print_map run, for --bundle")
    parser.add_argument("--data", type=Path, help="with --print-map: folder of photographs")
    parser.add_argument(
        "--bundle",
        default="tiny",
        help="with --tower, --continuing, --print-map or --codec alone: embedded name or folder",
    )
    parser.add_argument("--codec", type=Path, help="folder of the codec run")
    parser.add_argument("--clip", type=Path, help="folder of the clip run")
    parser.add_argument("--llava", type=Path, help="folder of the llava run")
    parser.add_argument("--adapter", type=Path, help="folder of the adapter run")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--name", default="tiny")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--quality", type=float, default=3.0, help="default quality, 0..9")
    parser.add_argument("--cell", type=int, default=MAP_CELL, choices=CELLS)
    parser.add_argument("--levels", type=int, default=MAP_LEVELS, choices=LEVELS)
    parser.add_argument("--k", type=float, default=MAP_K)
    parser.add_argument(
        "--step",
        type=int,
        default=30,
        choices=range(0, MAX_STEP + 1, STEP_UNIT),
        metavar="CODES",
        help="from the base quality to the next level's, in twentieths",
    )
    parser.add_argument(
        "--quantise",
        type=Path,
        metavar="PHOTOS",
        help="the edge's graphs in 8 bits, by photographs",
    )
    parser.add_argument("--open-clip", type=Path, help="new folder for the CLIP towers' own files")
    parser.add_argument("--hardware", default="2 CPU cores", help="for the provenance")


def main(arguments: argparse.Namespace) -> None:
    """Write the bundle beside its place, check it, then rename. An old one is replaced."""
    if arguments.tower is not None:
        export_tower(arguments)
        return
    if arguments.continuing is not None:
        export_continuing(arguments)
        return
    if arguments.print_map is not None:
        # Print is learnt on Pages; the package without a checkout has none.
        from training.bundle.print_map import export_print

        export_print(arguments)
        return
    if arguments.codec is None:
        raise UsageError("an export is made of --codec, --tower, --continuing or --print-map")
    if arguments.clip is None:
        export_codec(arguments)
        return
    # Towers and language models of Scenes; the package without a checkout has no Scenes.
    from training.small_models.clip import load_clip, text_parts
    from training.small_models.llava import load_llava
    from training.small_models.open_clip_files import write_open_clip

    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        codec = load_codec(arguments.codec)
        clip = load_clip(arguments.clip).clip
        visual = clip.visual
        write_codec(codec, beside, arguments.quantise)
        write_guidance(visual, beside / bundles.GUIDANCE)
        if arguments.quantise:
            quantise_guidance(beside / bundles.GUIDANCE)
        if arguments.llava:
            text = {name: t.detach().half() for name, t in text_parts(clip).items()}
            save_file(text, beside / bundles.CLIP_TEXT)
            model = load_llava(arguments.llava, arguments.clip)
            write_mllm(model, beside / bundles.MLLM)
        if arguments.adapter:
            save_adapter(load_adapter_run(arguments.adapter), beside / bundles.ADAPTER)
        write_manifest(beside, codec, visual, arguments)
        made = bundles.Bundle.open(beside)
        check_graphs(made)
        quantised = bool(arguments.quantise)
        for line in (
            *check_codec(made, codec, quantised),
            check_guidance(made, visual, quantised),
        ):
            print(line)
        beside.chmod(0o755)
        for file in beside.rglob("*.safetensors"):
            file.chmod(0o644)
        if out.exists():
            shutil.rmtree(out)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if arguments.open_clip:
        info = load_checkpoint(arguments.clip)["info"]
        write_open_clip(clip, info["config"], arguments.open_clip)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"bundle {bundles.Bundle.open(out).hex_id} at {out}, {size / 1e6:.1f} MB")


def write_guidance(visual: Any, path: Path) -> None:
    """guidance.onnx: `picture` f32 [1, 3, S, S] 0..1 -> `importance` f32 [1, S/p, S/p]."""
    side = visual.image_size[0]
    guidance = Guidance(visual, MEAN, DEVIATION).eval()
    write_onnx(guidance, torch.rand(1, 3, side, side), path, ("importance",), {})


def write_mllm(model: Any, folder: Path) -> None:
    """The language model in Hugging Face form, float16, with its processor."""
    from training.small_models.llava import build_processor
    from training.small_models.tokenizer import build_tokenizer

    model.half().save_pretrained(folder)
    name_as_published(folder / MLLM_WEIGHTS)
    build_processor(build_tokenizer()).save_pretrained(folder)


def name_as_published(path: Path) -> None:
    """Name the weights of a LLaVA's tower as published LLaVAs do, which is how vLLM knows them.

    transformers 5 writes the names that it has in memory, one level less, and reads both.
    """
    weights = {
        re.sub(r"^vision_tower\.(?!vision_model\.)", "vision_tower.vision_model.", name): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})


def describe_tower(visual: Any) -> dict[str, Any]:
    """The tower of Scenes, as the language model of `small_models` uses it."""
    tower = convert_tower(visual)
    config = tower.config
    return {
        "model": "llava",
        "vision": config.model_type,
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "patch": PATCH,
        "grid": SIDE // PATCH,
        "leading": 1,
        "layer": -1,
        "mean": MEAN,
        "deviation": DEVIATION,
        "fill": [round(255 * shade) for shade in MEAN],
        "layout": "corner",
        "fingerprint": fingerprint_of(tower),
    }


def write_manifest(
    root: Path, codec: Codec, visual: nn.Module, arguments: argparse.Namespace
) -> None:
    """manifest.json over all files that are in `root`."""
    names = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
    edge = (bundles.GUIDANCE, bundles.ENCODER, bundles.ENTROPY)
    manifest = bundles.Manifest.model_validate(
        {
            "format": bundles.FORMAT,
            "name": arguments.name,
            "version": arguments.version,
            "licence": "Apache-2.0",
            "resolution": SIDE,
            "quality": arguments.quality,
            "codec": codec_settings(codec),
            "guidance": {
                "side": SIDE,
                "patch": PATCH,
                "k": arguments.k,
                "cell": arguments.cell,
                "levels": arguments.levels,
                "step": arguments.step,
            },
            "tower": describe_tower(visual),
            "files": bundles.describe_files(root, names, edge),
            "provenance": provenance(arguments),
        }
    )
    text = json.dumps(manifest.model_dump(), indent=1, sort_keys=True)
    (root / bundles.MANIFEST).write_text(text + "\n")


def provenance(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps and minutes of each run, and the hardware."""
    record: dict[str, Any] = {"hardware": arguments.hardware}
    for name in ("codec", "clip", "llava", "adapter"):
        run = getattr(arguments, name)
        if run is not None:
            steps, seconds = spent(run, name).values()
            record[name] = {"steps": steps, "minutes": round(seconds / 60, 1)}
    return record


@torch.no_grad()
def check_guidance(bundle: bundles.Bundle, visual: Any, quantised: bool = False) -> str:
    """Compare guidance.onnx with the trained tower. Raises AssertionError where they differ."""
    side = visual.image_size[0]
    square = example_picture(side, side)
    importance = Guidance(visual, MEAN, DEVIATION)(square)
    most, error = differences(importance, run_graph(bundle.path(bundles.GUIDANCE), square))
    line = f"guidance.onnx against torch: {error:.1e} on average, {most:.1e} at most"
    close = error < GUIDANCE_ERROR * float(importance.mean())
    require(most < 1e-4 or (quantised and close), line)
    return line
