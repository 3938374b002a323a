"""Train the CLIP towers on Scenes: captions against pictures, and dense labels of the patches.

The contrastive loss is open_clip's. Four linear heads on the patch tokens (which object, which
colour, whose centre, which character) make a tower of this size learn many times faster; they are
left behind after training. Attention starts near the identity (Trockman and Kolter, "Mimetic
Initialization of Self-Attention Layers", ICML 2023), positions as sines and cosines.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import get_2d_sincos_pos_embed
from torch import Tensor, nn

from scenes import CHARACTERS, COLOURS, KINDS
from training.runner import Runner, RunOptions, add_runner_arguments, load_checkpoint
from training.tokenizer import END, build_tokenizer
from training.world import Sample, SceneStream, normalise, pixels

CONFIG = Path(__file__).with_name("clip_tiny.json")
CLASSES = {
    "kind": len(KINDS) + 1,
    "colour": len(COLOURS) + 1,
    "centre": len(KINDS) + 1,
    "character": len(CHARACTERS) + 1,
}
NOTHING_WEIGHT = {"kind": 0.15, "colour": 0.15, "centre": 0.1, "character": 0.1}
CONTRASTIVE_WEIGHT = 0.3
VALIDATION_PICTURES = 100


class ClipWithHeads(nn.Module):
    """The open_clip model and the dense heads that train with it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(**config, output_dict=True)
        width = config["vision_cfg"]["width"]
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in CLASSES.items()})
        start_attention(self.clip.visual)

    def forward(self, picture: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Unit embeddings [B, D] of pictures and captions, dense logits [B, N, classes] by name."""
        pooled, patches = self.clip.visual(picture)
        text = self.clip.encode_text(tokens, normalize=True)
        dense = {name: head(patches) for name, head in self.heads.items()}
        return F.normalize(pooled.float(), dim=-1), text.float(), dense


@torch.no_grad()
def start_attention(visual: nn.Module) -> None:
    """Attention that looks at like content and near places, from the first step on."""
    table = visual.positional_embedding
    side = visual.grid_size[0]
    sines = get_2d_sincos_pos_embed(table.shape[1], side, cls_token=True)
    table.copy_(0.3 * torch.from_numpy(sines).float())
    for block in visual.transformer.resblocks:
        attention = block.attn
        width, heads = attention.embed_dim, attention.num_heads
        deep = width // heads
        query, key, value = attention.in_proj_weight.chunk(3)
        for h in range(heads):
            rows = slice(h * deep, (h + 1) * deep)
            target = 0.7 * torch.randn(width, width) / math.sqrt(width) + 0.7 * torch.eye(width)
            u, s, v = torch.linalg.svd(target)
            query[rows] = (u[:, :deep] * s[:deep].sqrt()).T
            key[rows] = (v[:deep].T * s[:deep].sqrt()).T
        target = 0.4 * torch.randn(width, width) / math.sqrt(width) - 0.4 * torch.eye(width)
        u, s, v = torch.linalg.svd(target)
        value.copy_((v.T * s.sqrt()).T)
        attention.out_proj.weight.copy_(u * s.sqrt())


def tokenize(texts: list[str], length: int) -> Tensor:
    """Token ids i64 [B, length], each text ended and padded."""
    tokenizer = build_tokenizer()
    batch = tokenizer(
        [f"{text} {END}" for text in texts],
        padding="max_length",
        truncation=True,
        max_length=length,
        return_tensors="pt",
    )
    ids: Tensor = batch.input_ids
    return ids


def dense_losses(dense: dict[str, Tensor], samples: list[Sample]) -> dict[str, Tensor]:
    """Cross-entropy of each head; patches where nothing is count less."""
    losses = {}
    for name, logits in dense.items():
        labels = torch.from_numpy(np.stack([s.labels[name] for s in samples])).flatten()
        weight = torch.ones(CLASSES[name], device=logits.device)
        weight[0] = NOTHING_WEIGHT[name]
        flat = logits.float().flatten(0, 1)
        losses[name] = F.cross_entropy(flat, labels.to(logits.device), weight)
    return losses


@torch.no_grad()
def validate(model: nn.Module, samples: list[Sample], length: int, device: str) -> dict[str, float]:
    """Retrieval of the right caption among all, and accuracy of the heads where something is."""
    tokens = tokenize([s.scene.caption for s in samples], length).to(device)
    image, text, dense = model(normalise(pixels(samples)).to(device), tokens)
    right = (image @ text.T).argmax(1) == torch.arange(len(samples), device=device)
    scores = {"retrieval": float(right.float().mean())}
    for name, logits in dense.items():
        labels = torch.from_numpy(np.stack([s.labels[name] for s in samples])).flatten().to(device)
        found = logits.flatten(0, 1).argmax(1)
        scores[f"{name}_recall"] = float((found == labels)[labels > 0].float().mean())
        scores[f"{name}_precision"] = float((found == labels)[found > 0].float().mean())
    return scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument("--config", type=Path, default=CONFIG, help="open_clip model config")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged towers and heads."""
    options = RunOptions.of(arguments)
    config = json.loads(arguments.config.read_text())
    length = config["text_cfg"]["context_length"]
    runner = Runner(options, ClipWithHeads(config), arguments.rate)
    stream = SceneStream("train", options.data, start=runner.step * arguments.batch)
    held_out = SceneStream("val", options.data).batch(VALIDATION_PICTURES)

    def loss_of_step(model: nn.Module, step: int) -> dict[str, Tensor]:
        samples = stream.batch(arguments.batch)
        tokens = tokenize([s.scene.caption for s in samples], length).to(options.device)
        picture = normalise(pixels(samples)).to(options.device)
        with torch.autocast(options.device, torch.bfloat16):
            image, text, dense = model(picture, tokens)
        scale = model.clip.logit_scale.exp().clamp_max(100.0)
        contrastive = open_clip.ClipLoss()(image, text, scale)
        losses = dense_losses(dense, samples)
        losses["contrastive"] = contrastive
        losses["loss"] = CONTRASTIVE_WEIGHT * contrastive + sum(
            loss for name, loss in losses.items() if name != "contrastive"
        )
        return losses

    runner.run(
        loss_of_step,
        lambda model: validate(model, held_out, length, options.device),
        {"config": config},
    )


def load_clip(run: Path) -> ClipWithHeads:
    """The averaged towers and heads of a run, in evaluation mode."""
    state = load_checkpoint(run)
    model = ClipWithHeads(state["info"]["config"])
    model.load_state_dict(state["average"])
    return model.eval()
