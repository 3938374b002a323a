"""Runs from a bundle: its weights as checkpoints, so that training can go on where no run is left.

    bundle --> OUT/codec, OUT/clip, OUT/llava, OUT/adapter --(--start, --clip, --codec)--> new runs

The dense heads of `clip`, which no bundle holds, start anew. What it holds in fewer bits comes back
in these: float16, and 7 bits in an encoder that was quantised; a few minutes of training make up
for it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from shared import bundle as bundles
from shared.nets.adapter import load_adapter
from training.codec.restore import restore_codec
from training.loop.runner import CHECKPOINT, write_checkpoint
from training.small_models.conversion import unconverted
from training.tower.runs import adapter_info


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the runs")


def main(arguments: argparse.Namespace) -> None:
    """Write a run's folder for each part of the bundle."""
    bundle = bundles.open_bundle(arguments.bundle)
    codec = restore_codec(bundle)
    states: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {
        "codec": (codec.state_dict(), {"config": asdict(codec.config)})
    }
    if bundle.has(bundles.ADAPTER):
        states["adapter"] = restore_adapter(bundle)
    if bundle.has(bundles.MLLM):
        llava = LlavaForConditionalGeneration.from_pretrained(
            bundle.path(bundles.MLLM), dtype=torch.float32
        )
        states["clip"] = restore_clip(bundle, llava.model.vision_tower)
        states["llava"] = (llava.state_dict(), {})
    for name, (state, info) in states.items():
        folder: Path = arguments.out / name
        folder.mkdir(parents=True)
        spent = _spent(bundle, name)
        before = {"step": 0, "elapsed": 0.0}
        write_checkpoint(folder, {"info": info, "average": state, "earlier": before, **spent})
        print(f"{folder / CHECKPOINT}: {sum(t.numel() for t in state.values()):,} numbers")


def _spent(bundle: bundles.Bundle, name: str) -> dict[str, float]:
    """Steps and seconds that the part was trained for."""
    spent: dict[str, Any] = bundle.manifest.provenance.get(name, {})
    return {"step": spent.get("steps", 0), "elapsed": 60.0 * spent.get("minutes", 0.0)}


def restore_clip(
    bundle: bundles.Bundle, tower: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State and settings, as a run of the CLIP trainer keeps them; tower: a `CLIPVisionModel`."""
    # Here alone Scenes is needed, which the package without a checkout does not have.
    from training.small_models.clip import CONFIG, ClipWithHeads

    config = json.loads(CONFIG.read_text())
    model = ClipWithHeads(config)
    state = {f"visual.{name}": t for name, t in unconverted(tower.state_dict()).items()}
    state |= load_file(bundle.path(bundles.CLIP_TEXT))
    model.clip.load_state_dict(state)
    return model.state_dict(), {"config": config}


def restore_adapter(bundle: bundles.Bundle) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State and sizes, as a run of `training tower` keeps them."""
    adapter = load_adapter(bundle.path(bundles.ADAPTER))
    return adapter.state_dict(), adapter_info(adapter.config)
