"""How the small language model counts: set in its first two layers before it learns, and held.

    patches                   densities of kinds and colours (`training.small_models.density`)
    embeddings                "red" "cars": marks of their colour and of their kind
    layer 1, ADDING_HEAD      looks at all tokens alike: sums of the densities
    layer 1, PREVIOUS_HEAD    "cars" looks at the word before and keeps the mark of its colour
    layer 1, last units       mark of the kind x sum of the kind; mark of the colour before x sum of
                              that colour
    layer 2, last units       READ: half of the first number, or of the second after a colour where
                              that is smaller, less 1

What to do with them it learns. Gradients take long to find products among as many kinds and
colours, and never kept one number exact among all that a state holds: layers divide a state by its
size, which differs by an eighth to a quarter. So one channel, `STEADY`, is large and alike in all
tokens, and sizes hardly differ.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from scenes import COLOURS, KINDS
from training.small_models.density import DENSITIES, UNITS
from training.small_models.tokenizer import WORDS_OF

Owned = list[tuple[Tensor, tuple[slice, ...]]]
"""Parts of parameters, by their indices."""

EVERY: Final = slice(None)

# Channels of the language model's states; the two before are for what words read (`grounding`).
READ: Final = 2
CHANNELS: Final = slice(3, 3 + DENSITIES)
"""Densities in patches, their sums in words."""
STEADY: Final = CHANNELS.stop
MARKS: Final = slice(STEADY + 1, STEADY + 1 + DENSITIES)
"""Of a word's own kind and colour, in the order of densities."""
WORD: Final = MARKS.stop  # alike in all words, 0 in patches
BEFORE: Final = slice(WORD + 1, WORD + 1 + len(COLOURS))
"""Mark of the colour before."""
CHOSEN: Final = slice(BEFORE.stop, BEFORE.stop + 2)
"""A word's numbers: of its kind, of the colour before."""
FIXED: Final = slice(CHANNELS.start, CHOSEN.stop)
WRITTEN: Final = slice(READ, CHOSEN.stop)
ADDED: Final = slice(CHANNELS.start, STEADY + 1)

# What a state of mean square 1 has of it:
PER_OBJECT: Final = 8.0
BALLAST: Final = 2.0  # of `STEADY`, where all other channels together have length 1
# What a word's state has of it:
GAIN: Final = 40.0  # of the mean of densities: as much as channels usually have after a layer
STEADY_SUM: Final = 100.0
STEADY_WEIGHT: Final = 0.1  # of the norms after it: as loud as other channels
MARK: Final = 1.0
MARK_BEFORE: Final = 4.0  # a mark, after the norm and `PREVIOUS_HEAD`
CHOSEN_OBJECT: Final = 3.0
SIZES: Final = (7.8, 8.2)  # root mean square before the units of the first two layers
TOKENS: Final = 261.0  # that are added up, about

ADDING_HEAD: Final = 1
PREVIOUS_HEAD: Final = 2
TURNS: Final = (0, 1, 2)
"""Frequencies of the positions that tell neighbours apart; the last of all hardly turns."""
SHARPNESS: Final = 6.0
LEVEL: Final = 2.2  # of the sum of `TURNS`, under which a word is not looked at
GATE: Final = 6.0  # of what is there: far enough in the straight part of SiLU
APART: Final = 8.0  # for each object: far enough in either part
READERS: Final = 3  # units of the second layer


def densities(states: Tensor) -> Tensor:
    """Densities f32 [B, DENSITIES, N] that the first layer of a language model finds in the states
    [B, N, width] of patches."""
    normed = F.rms_norm(states.float(), states.shape[-1:], eps=1e-6)
    return normed[:, :, CHANNELS].mT / PER_OBJECT


class _Head:
    """A head of the first layer's attention, of whose channels the first few carry something."""

    def __init__(self, layer: Any, number: int, channels: int) -> None:
        attention = layer.self_attn
        self.size = attention.head_dim
        rows = slice(number * self.size, (number + 1) * self.size)
        carried = slice(rows.start, rows.start + channels)
        queries, keys = attention.q_proj.weight, attention.k_proj.weight
        values, outputs = attention.v_proj.weight, attention.o_proj.weight
        self.owned: Owned = [
            # Queries and keys of 0 look everywhere alike, and as neither has a gradient without
            # the other, they would stay so.
            (queries, (rows,)),
            (keys, (rows,)),
            (values, (carried,)),
            (outputs, (EVERY, carried)),
        ]
        self.queries, self.keys, self.values, self.outputs = _views(self.owned)
        self.norm: Tensor = layer.input_layernorm.weight


class _Units:
    """The last units of a layer."""

    def __init__(self, layer: Any, count: int) -> None:
        units, mlp = slice(-count, None), layer.mlp
        self.owned: Owned = [
            (mlp.gate_proj.weight, (units,)),
            (mlp.up_proj.weight, (units,)),
            (mlp.down_proj.weight, (EVERY, units)),
        ]
        self.gates, self.ups, self.downs = _views(self.owned)
        self.norm: Tensor = layer.post_attention_layernorm.weight


class _Projected:
    """The projector's last units. Its outputs are not owned: densities may become better than what
    the tower tells."""

    def __init__(self, projector: Any) -> None:
        self.projector, self.units = projector, slice(-UNITS, None)
        inner = projector.linear_1
        self.owned: Owned = [(inner.weight, (self.units,)), (inner.bias, (self.units,))]
        self.weight, self.bias = _views(self.owned)


class Counting:
    """Where a LLaVA counts: what each step owns of its parameters."""

    @torch.no_grad()
    def __init__(self, model: Any) -> None:
        language = model.model.language_model
        self.language = language
        first, second = language.layers[:2]
        self.projected = _Projected(model.model.multi_modal_projector)
        self.sums = _Head(first, ADDING_HEAD, DENSITIES + 1)
        self.colours = _Head(first, PREVIOUS_HEAD, len(COLOURS))
        self.choosers = _Units(first, DENSITIES)
        self.readers = _Units(second, READERS)
        self.embeddings: Tensor = language.embed_tokens.weight
        marks: Owned = [
            (self.embeddings, (EVERY, WRITTEN)),
            (language.norm.weight, (FIXED,)),  # a marked word is no likelier an answer
        ]
        nobody_else_writes: Owned = [
            (first.self_attn.o_proj.weight, (WRITTEN,)),
            (first.mlp.down_proj.weight, (WRITTEN,)),
            (second.self_attn.o_proj.weight, (WRITTEN,)),
            (second.mlp.down_proj.weight, (slice(READ, READ + 1),)),
        ]
        steps = (self.projected, self.sums, self.colours, self.choosers, self.readers)
        self.owned = [part for step in steps for part in step.owned] + marks + nobody_else_writes
        self.read_with: Owned = [
            (norm, (FIXED,)) for norm in (self.sums.norm, self.choosers.norm, self.readers.norm)
        ]
        """Norms that a step counts on as they are."""


def _views(owned: Owned) -> list[Tensor]:
    return [parameter[part] for parameter, part in owned]


@torch.no_grad()
def start_counting(
    model: Any, tokenizer: PreTrainedTokenizerFast, head: nn.Module, tokens: Tensor
) -> None:
    """Set all this in a LLaVA, in place of what used the same channels, heads and units.

    head: a `density_head`, whose units become the last of the projector. tokens [N, width] of the
    tower say how large states of patches are.
    """
    counting = Counting(model)
    for parameter, part in counting.owned:
        parameter[part] = 0.0
    first, *later = counting.language.layers
    norms = [first.post_attention_layernorm]
    for layer in later:
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    for norm in norms:
        norm.weight[STEADY] = STEADY_WEIGHT
    _pass_on(counting.projected, head, tokens)
    _mark(counting.embeddings, tokenizer)
    _add(counting.sums)
    _look_back(counting.colours, counting.language.rotary_emb.inv_freq)
    _choose(counting.choosers)
    _read(counting.readers)


def freeze_counting(model: Any) -> None:
    """Keep it as it is: a sum over all patches feels each step of an optimizer."""
    counting = Counting(model)
    for parameter, part in (*counting.owned, *counting.read_with):
        parameter.register_hook(partial(_masked, part))


def _masked(part: tuple[slice, ...], gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[part] = 0.0
    return gradient


def _pass_on(projected: _Projected, head: nn.Module, tokens: Tensor) -> None:
    outputs, units = projected.projector.linear_2, projected.units
    head = head.to(outputs.weight.device)
    projected.weight.copy_(head.get_parameter("0.weight"))
    projected.bias.copy_(head.get_parameter("0.bias"))
    outputs.weight[:, units] = 0.0
    for part in (ADDED, slice(WORD, WORD + 1)):
        outputs.weight[part] = 0.0
        outputs.bias[part] = 0.0
    states = projected.projector(tokens)
    length = states.square().sum(dim=1).mean().sqrt()
    outputs.bias[STEADY] = BALLAST * length
    unit = PER_OBJECT * length * math.hypot(1.0, BALLAST) / states.shape[1] ** 0.5
    outputs.weight[CHANNELS, units] = unit * head.get_parameter("2.weight")
    outputs.bias[CHANNELS] = unit * head.get_parameter("2.bias")


def _mark(embeddings: Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    embeddings[:, WORD] = 0.5 * MARK
    embeddings[tokenizer.bos_token_id, WORD] = 0.0
    for i, words in enumerate(WORDS_OF["kind"] + WORDS_OF["colour"]):
        embeddings[tokenizer.convert_tokens_to_ids(words), MARKS.start + i] = MARK
    embeddings[:, STEADY] = BALLAST * embeddings.square().sum(dim=1).sqrt()


def _add(head: _Head) -> None:
    head.values[:, ADDED] = torch.diag(1.0 / head.norm[ADDED])
    steady = len(head.norm) ** 0.5 * BALLAST / math.hypot(1.0, BALLAST)
    gains = torch.full((DENSITIES + 1,), GAIN)
    gains[-1] = STEADY_SUM / steady
    head.outputs[ADDED] = torch.diag(gains)


def _look_back(head: _Head, angles: Tensor) -> None:
    """Queries turned by one position against keys: their product is largest for the word before."""
    half, unit = head.size // 2, SHARPNESS / head.norm[WORD]
    for i in TURNS:
        head.keys[i, WORD] = unit
        head.queries[i, WORD] = unit * torch.cos(angles[i])
        head.queries[half + i, WORD] = -unit * torch.sin(angles[i])
    head.keys[half - 1, WORD] = unit
    head.queries[half - 1, WORD] = -LEVEL * unit
    colours = slice(MARKS.start + len(KINDS), MARKS.stop)
    head.values[:, colours] = torch.diag(1.0 / head.norm[colours])
    head.outputs[BEFORE] = torch.eye(len(COLOURS))


def _choose(units: _Units) -> None:
    """A product for each kind and each colour; SiLU hardly changes what is there."""
    unit = SIZES[0] / units.norm
    number = TOKENS / (PER_OBJECT * GAIN)
    for i in range(DENSITIES):
        colour = i - len(KINDS)
        is_colour = colour >= 0
        mark, size = (BEFORE.start + colour, MARK_BEFORE) if is_colour else (MARKS.start + i, MARK)
        units.gates[i, mark] = GATE / size * unit[mark]
        units.ups[i, CHANNELS.start + i] = number * unit[CHANNELS.start + i]
        units.downs[CHOSEN.start + is_colour, i] = CHOSEN_OBJECT / GATE


def _read(units: _Units) -> None:
    unit = SIZES[1] / units.norm
    gates, ups, downs = units.gates, units.ups, units.downs[READ]
    own, colours = range(CHOSEN.start, CHOSEN.stop)
    kinds = slice(MARKS.start, MARKS.start + len(KINDS))
    number, less, offset = range(READERS)
    passed = float(F.silu(torch.tensor(GATE)))
    gates[[number, offset], STEADY] = GATE / STEADY_SUM * unit[STEADY]
    ups[number, own] = unit[own] / CHOSEN_OBJECT
    downs[number] = 0.5 / passed
    gates[less, own] = APART / CHOSEN_OBJECT * unit[own]
    gates[less, colours] = -APART / CHOSEN_OBJECT * unit[colours]
    ups[less, BEFORE] = unit[BEFORE] / MARK_BEFORE
    downs[less] = -0.5 / APART
    ups[offset, kinds] = unit[kinds] / MARK
    downs[offset] = -1.0 / passed
