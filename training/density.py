"""Counting as a sum: how much of an object of each kind and of each colour a patch shows.

An object spreads its one over where it shows, so patches sum to a number. Which patch holds its
centre is a coin's toss near the border of two; how large a share a patch holds is not. A head of
the tower has the form of a projector, so a language model's projector can begin with its units and
keep densities as channels, and one head that looks everywhere alike adds them up.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scenes import COLOURS, KINDS

DENSITIES: Final = len(KINDS) + len(COLOURS)
"""Channels of a density: objects of each kind, then objects of each colour."""
CHANNELS: Final = slice(3, 3 + DENSITIES)
"""Of the language model's states; the ones before are for what words read (`grounding`)."""
UNITS: Final = 64
"""Of the projector, its last, for densities."""
PER_OBJECT: Final = 8.0  # of such a channel where a state has mean square 1
ADDING_HEAD: Final = 1  # of the first layer
GAIN: Final = 40.0
"""An object then moves a word's state by as much as its channels usually have after a layer."""
PATCH_WEIGHT: Final = 2.0
UNSEEN: Final = 0.5  # objects: beyond it they are unseen rather than miscounted


def density_loss(told: Tensor, density: Tensor) -> Tensor:
    """Mean over pictures of what is wrong with densities told, both f32 [B, DENSITIES, N].

    Squared errors of patches and of the numbers that they sum to, these only up to `UNSEEN`
    objects: small objects that nobody can see would outweigh all else.
    """
    patches = (told - density).square().sum(dim=(1, 2))
    numbers = F.huber_loss(told.sum(dim=2), density.sum(dim=2), reduction="none", delta=UNSEEN)
    # Twice Huber's, which halves the square.
    return (PATCH_WEIGHT * patches + 2.0 * numbers.sum(dim=1)).mean()


def density_head(width: int) -> nn.Sequential:
    """Densities [..., DENSITIES] from tokens [..., width], as a projector would tell them."""
    head = nn.Sequential(nn.Linear(width, UNITS), nn.GELU(), nn.Linear(UNITS, DENSITIES))
    nn.init.normal_(head[2].weight, std=0.01)
    nn.init.zeros_(head[2].bias)
    return head


def shown(states: Tensor) -> Tensor:
    """Densities f32 [B, DENSITIES, N] that the first layer of a language model finds in the states
    [B, N, width] of patches."""
    normed = F.rms_norm(states.float(), states.shape[-1:], eps=1e-6)
    return normed[:, :, CHANNELS].mT / PER_OBJECT


@torch.no_grad()
def pass_on(projector: Any, head: nn.Sequential, tokens: Tensor) -> None:
    """Let the last units of a LLaVA's projector be those of a `density_head`, and its outputs
    `CHANNELS` what that head tells; tokens [N, width] of the tower say how large states are."""
    first, second = projector.linear_1, projector.linear_2
    head = head.to(first.weight.device)
    first.weight[-UNITS:] = head[0].weight
    first.bias[-UNITS:] = head[0].bias
    second.weight[:, -UNITS:] = 0.0
    second.weight[CHANNELS] = 0.0
    second.bias[CHANNELS] = 0.0
    size = PER_OBJECT * projector(tokens).square().mean().sqrt()
    second.weight[CHANNELS, -UNITS:] = size * head[2].weight
    second.bias[CHANNELS] = size * head[2].bias


@torch.no_grad()
def start_adding(model: Any) -> None:
    """One head of a LLaVA's first layer looks at all tokens alike; what it adds up of `CHANNELS`
    is all that words have there before the second."""
    language = model.model.language_model
    layer = language.layers[0]
    attention = layer.self_attn
    rows = slice(ADDING_HEAD * attention.head_dim, (ADDING_HEAD + 1) * attention.head_dim)
    # Queries and keys of 0 look everywhere alike, and as neither has a gradient without the other,
    # they stay so.
    attention.q_proj.weight[rows] = 0.0
    attention.k_proj.weight[rows] = 0.0
    values, out = attention.v_proj.weight[rows], attention.o_proj.weight
    values[:DENSITIES] = 0.0
    values[:DENSITIES, CHANNELS] = torch.diag(1.0 / layer.input_layernorm.weight[CHANNELS])
    out[:, rows] = 0.0
    out[CHANNELS] = 0.0
    out[CHANNELS, rows][:, :DENSITIES] = GAIN * torch.eye(DENSITIES)
    language.embed_tokens.weight[:, CHANNELS] = 0.0
    layer.mlp.down_proj.weight[CHANNELS] = 0.0


def hold(model: Any) -> None:
    """Keep all this as it is: a sum over all patches feels each step of an optimizer."""
    language = model.model.language_model
    layer = language.layers[0]
    start = ADDING_HEAD * layer.self_attn.head_dim
    for parameter in model.model.multi_modal_projector.linear_1.parameters():
        _keep(parameter, (slice(-UNITS, None),))
    _keep(layer.self_attn.v_proj.weight, (slice(start, start + DENSITIES),))
    _keep(layer.self_attn.o_proj.weight, (CHANNELS,))
    _keep(layer.mlp.down_proj.weight, (CHANNELS,))
    _keep(language.embed_tokens.weight, (slice(None), CHANNELS))


def _keep(parameter: nn.Parameter, part: tuple[slice, ...]) -> None:
    """No gradient for part of a parameter."""

    def masked(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[part] = 0.0
        return gradient

    parameter.register_hook(masked)
