"""Train the CLIP towers on Scenes: captions against pictures, and dense labels of the patches.

The contrastive loss is open_clip's. Linear heads on the patch tokens (which object, colour, whose
centre, which characters, which row and column, what kind of scene) make a tower of this size learn
many times faster and keep in its last layer what a language model has to know of each patch; they
are left behind after training. A quarter of each batch is signs alone. Attention starts near
the identity (Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023),
positions as sines and cosines.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import get_2d_sincos_pos_embed
from torch import Tensor, nn

from scenes import CATEGORIES, CHARACTERS, COLOURS, KINDS, WORDS
from shared.errors import UsageError
from shared.nets.guidance import cls_attention
from shared.nets.precision import mixed_precision
from training.loop.runner import Runner, RunOptions, add_runner_arguments, load_checkpoint
from training.loop.square import PATCH, SIDE, normalise, pixels
from training.loop.world import Objects, Sample, SceneStream, add_world_argument
from training.small_models.density import DENSITIES, density_head, density_loss
from training.small_models.tokenizer import END, build_tokenizer

CONFIG = Path(__file__).with_name("clip_tiny.json")
CLASSES = {
    "kind": len(KINDS) + 1,
    "colour": len(COLOURS) + 1,
    "centre": len(KINDS) + 1,
    "character": len(CHARACTERS) + 1,
    "place": max(map(len, WORDS)) + 1,
    "second": len(CHARACTERS) + 1,
    "category": len(CATEGORIES) + 1,
    "row": SIDE // PATCH,
    "column": SIDE // PATCH,
}
DENSITY = "density"
"""The head that says how much of an object of each kind and colour a patch shows. It reads tokens
before the last normalisation, as the projector of a language model does."""
NOTHING_WEIGHT = {
    "kind": 0.15,
    "colour": 0.15,
    "centre": 0.2,
    "character": 0.1,
    "place": 0.1,
    "second": 0.1,
}
"""Of class 0, where that means that nothing is there."""
HEAD_WEIGHT = {"category": 0.2, "row": 0.1, "column": 0.1}
CONTRASTIVE_WEIGHT = 0.3
DENSITY_WEIGHT = 0.15
SCREENING_WEIGHT = 0.3
SIGNS_SHARE = 4  # one picture in so many is signs alone
SCREENING_LAYERS = 3  # whose [CLS] attention guides the codec
VALIDATION_PICTURES = 100
CAPTIONS = 128  # a step, where the visual tower is frozen


@dataclass
class Seen:
    """Unit embeddings [B, D] of pictures and captions, dense logits [B, N, classes] by name, mean
    attention [B, N] of [CLS] to the patches in the first layers."""

    image: Tensor
    text: Tensor
    dense: dict[str, Tensor]
    attention: Tensor


class ClipWithHeads(nn.Module):
    """The open_clip model and the dense heads that train with it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(**config, output_dict=True)
        for block in self.clip.visual.transformer.resblocks:
            block.attn.register_forward_pre_hook(_with_plain_products, with_kwargs=True)
        width = config["vision_cfg"]["width"]
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in CLASSES.items()})
        self.heads[DENSITY] = density_head(width)

    def forward(self, picture: Tensor, tokens: Tensor) -> Seen:
        """Run both towers on pictures [B, 3, S, S], normalised, and caption ids [B, L]."""
        visual = self.clip.visual
        x = visual._embeds(picture)
        attention = torch.zeros((), device=picture.device)
        for i, block in enumerate(visual.transformer.resblocks):
            if i < SCREENING_LAYERS:
                attention = attention + cls_attention(block, x).float() / SCREENING_LAYERS
            x = block(x)
        pooled, patches = visual._pool(x)
        image = F.normalize((pooled @ visual.proj).float(), dim=-1)
        text = self.clip.encode_text(tokens, normalize=True).float()
        dense = {name: self.heads[name](patches) for name in CLASSES}
        dense[DENSITY] = self.heads[DENSITY](x[:, 1:])
        return Seen(image, text, dense, attention)


def _with_plain_products(
    attention: nn.Module, inputs: Any, named: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """On a CPU the fused kernel's backward pass takes four times as long as plain products do."""
    return inputs, named | {"need_weights": attention.training and inputs[0].device.type == "cpu"}


@torch.no_grad()
def start_attention(visual: Any) -> None:
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


def dense_labels(name: str, samples: list[Sample]) -> Tensor:
    """Class of each patch, i64 [B * N], for the head of that name."""
    grid = (len(samples), SIDE // PATCH, SIDE // PATCH)
    if name == "category":
        known = ("", *CATEGORIES)
        whole = torch.tensor([known.index(s.scene.category) for s in samples])
        return whole.view(-1, 1, 1).expand(grid).flatten()
    if name in ("row", "column"):
        number = torch.arange(SIDE // PATCH)
        return number.view((-1, 1) if name == "row" else (1, -1)).expand(grid).flatten()
    return torch.from_numpy(np.stack([s.labels[name] for s in samples])).flatten()


def dense_losses(dense: dict[str, Tensor], samples: list[Sample]) -> dict[str, Tensor]:
    """Weighted cross-entropy of each head; patches where nothing is count less."""
    losses = {}
    for name, classes in CLASSES.items():
        logits = dense[name].float().flatten(0, 1)
        labels = dense_labels(name, samples).to(logits.device)
        weight = torch.ones(classes, device=logits.device)
        weight[0] = NOTHING_WEIGHT.get(name, 1.0)
        losses[name] = HEAD_WEIGHT.get(name, 1.0) * F.cross_entropy(logits, labels, weight)
    density = Objects.of(samples).density().to(dense[DENSITY].device)
    losses[DENSITY] = DENSITY_WEIGHT * density_loss(dense[DENSITY].float().mT, density)
    return losses


def screening_loss(attention: Tensor, samples: list[Sample]) -> Tensor:
    """Cross-entropy between the early [CLS] attention and where objects are, signs twice.

    A tower of six layers that is trained for an hour does not screen broadly by itself, as large
    CLIP towers do; this teaches it where to look first.
    """
    kinds = torch.from_numpy(np.stack([s.labels["kind"] for s in samples])).flatten(1)
    target = (kinds > 0).float() + (kinds == 1 + KINDS.index("sign")).float()
    target = (target / target.sum(1, keepdim=True).clamp_min(1.0)).to(attention.device)
    share = attention / attention.sum(1, keepdim=True)
    return -(target * (share + 1e-6).log()).sum(1).mean()


@torch.no_grad()
def validate(
    model: ClipWithHeads, samples: list[Sample], length: int, device: str
) -> dict[str, float]:
    """Retrieval of the right caption among all, and accuracy of the heads where something is."""
    tokens = tokenize([s.scene.caption for s in samples], length).to(device)
    seen = model(normalise(pixels(samples)).to(device), tokens)
    best = (seen.image @ seen.text.T).argmax(1)
    retrieved = best == torch.arange(len(samples), device=device)
    scores = {
        "retrieval": float(retrieved.float().mean()),
        "screening": float(screening_loss(seen.attention, samples)),
    }
    number = Objects.of(samples).density().sum(dim=2).round().to(device)
    right = seen.dense[DENSITY].sum(dim=1).round() == number
    things, colours = slice(0, KINDS.index("sign")), slice(len(KINDS), DENSITIES)
    for name, part in (("count", things), ("count_colour", colours)):
        scores[name] = float(right[:, part][number[:, part] > 0].float().mean())
    for name in CLASSES:
        labels = dense_labels(name, samples).to(device)
        predicted = seen.dense[name].flatten(0, 1).argmax(1)
        right = ((predicted == labels) & (labels > 0)).sum()
        scores[f"{name}_recall"] = float(right / (labels > 0).sum().clamp_min(1))
        if name in NOTHING_WEIGHT:
            scores[f"{name}_precision"] = float(right / (predicted > 0).sum().clamp_min(1))
    return scores


def text_parts(clip: nn.Module) -> dict[str, nn.Parameter]:
    """What CLIP has beside the blocks of its visual tower: text tower, projection and scale."""
    return {
        name: parameter
        for name, parameter in clip.named_parameters()
        if not name.startswith("visual.") or name == "visual.proj"
    }


def freeze(visual: Any, blocks: int) -> None:
    """Keep a tower's embeddings and first blocks: guidance and its level maps stay as they are.

    Raises UsageError where it has fewer blocks.
    """
    every = visual.transformer.resblocks
    if not 0 <= blocks <= len(every):
        raise UsageError(f"--frozen-blocks is {blocks}", hint=f"the tower has {len(every)} blocks")
    visual.requires_grad_(False)
    for block in every[blocks:]:
        block.requires_grad_(True)
    visual.ln_post.requires_grad_(True)
    visual.proj.requires_grad_(True)


class Captioned:
    """Features of scenes that a frozen tower has seen, kept, and their captions.

    A scene costs far more to draw and to look at than its caption to read, so each step adds a few
    scenes and reads many captions.
    """

    def __init__(self, stream: SceneStream, fresh: int, length: int) -> None:
        self.stream, self.fresh, self.length = stream, fresh, length
        self.features: list[Tensor] = []
        self.captions: list[str] = []
        self.chance = np.random.default_rng(stream.index)

    @torch.no_grad()
    def batch(self, visual: Any, device: str) -> tuple[Tensor, Tensor]:
        """Pooled features f32 [B, width] and caption ids i64 [B, L], some of them new."""
        samples = self.stream.batch(self.fresh)
        embeds = visual._embeds(normalise(pixels(samples)).to(device))
        pooled, _ = visual._pool(visual.transformer(embeds))
        self.features += pooled.float().unbind()
        self.captions += [sample.scene.caption for sample in samples]
        count = min(CAPTIONS, len(self.captions))
        chosen = self.chance.choice(len(self.captions), count, replace=False)
        tokens = tokenize([self.captions[i] for i in chosen], self.length)
        return torch.stack([self.features[i] for i in chosen]), tokens.to(device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    add_world_argument(parser)
    parser.add_argument("--config", type=Path, default=CONFIG, help="open_clip model config")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--frozen-tower",
        action="store_true",
        help="train text tower and projection alone, on a visual tower from --start",
    )
    parser.add_argument(
        "--frozen-blocks",
        type=int,
        default=0,
        help="blocks of the visual tower to keep as they are, with its embeddings",
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged towers and heads."""
    options = RunOptions.of(arguments)
    config = json.loads(arguments.config.read_text())
    length = config["text_cfg"]["context_length"]
    torch.manual_seed(options.seed)
    model = ClipWithHeads(config)
    start_attention(model.clip.visual)
    if arguments.frozen_tower:
        model.requires_grad_(False)
        for part in text_parts(model.clip).values():
            part.requires_grad_(True)
    if arguments.frozen_blocks:
        freeze(model.clip.visual, arguments.frozen_blocks)
    runner = Runner(options, model, arguments.rate)
    start = runner.next_scene(0, arguments.batch)
    stream = SceneStream("train", options.data, start, arguments.worlds)
    signs = SceneStream("train-signs", options.data, start, arguments.worlds)
    held_out = SceneStream("val", options.data).batch(VALIDATION_PICTURES)
    captioned = Captioned(stream, arguments.batch, length)

    def captions_alone(model: ClipWithHeads, step: int) -> dict[str, Tensor]:
        pictures, tokens = captioned.batch(model.clip.visual, options.device)
        image = F.normalize(pictures @ model.clip.visual.proj, dim=-1)
        text = model.clip.encode_text(tokens, normalize=True)
        scale = model.clip.logit_scale.exp().clamp_max(100.0)
        loss = open_clip.ClipLoss()(image, text, scale)
        return {"loss": loss, "contrastive": loss}

    def loss_of_step(model: ClipWithHeads, step: int) -> dict[str, Tensor]:
        few = arguments.batch // SIGNS_SHARE
        samples = stream.batch(arguments.batch - few) + signs.batch(few)
        tokens = tokenize([s.scene.caption for s in samples], length).to(options.device)
        picture = normalise(pixels(samples)).to(options.device)
        with mixed_precision(options.device):
            seen = model(picture, tokens)
        scale = model.clip.logit_scale.exp().clamp_max(100.0)
        losses = dense_losses(seen.dense, samples)
        dense = sum(losses.values(), start=torch.zeros((), device=options.device))
        contrastive = open_clip.ClipLoss()(seen.image, seen.text, scale)
        screening = screening_loss(seen.attention, samples)
        total = dense + CONTRASTIVE_WEIGHT * contrastive + SCREENING_WEIGHT * screening
        return {"loss": total, "contrastive": contrastive, "screening": screening, **losses}

    runner.run(
        captions_alone if arguments.frozen_tower else loss_of_step,
        lambda model: validate(model, held_out, length, options.device),
        {"config": config},
    )


def load_clip(run: Path) -> ClipWithHeads:
    """The averaged towers and heads of a run, in evaluation mode.

    Raises UsageError for a run that trained other heads.
    """
    state = load_checkpoint(run)
    model = ClipWithHeads(state["info"]["config"])
    try:
        model.load_state_dict(state["average"])
    except RuntimeError as error:
        raise UsageError(
            f"{run} holds towers with other heads than this version trains",
            hint="begin a new run of `clip` with --start, which takes what fits",
        ) from error
    return model.eval()
