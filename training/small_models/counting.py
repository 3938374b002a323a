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

Part = tuple[slice, ...]

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
ADDED: Final = slice(CHANNELS.start, STEADY + 1)

# What a state of mean square 1 has of it:
PER_OBJECT: Final = 8.0
BALLAST: Final = 2.0  # of `STEADY`, where all other channels together have length 1
# What a word's state has of it:
GAIN: Final = 40.0  # of the mean of densities: as much as channels usually have after a layer
STEADY_SUM: Final = 100.0
STEADY_WEIGHT: Final = 0.1  # of the norms after it: as loud as other channels
MARK: Final = 1.0
SEEN: Final = 4.0  # a mark, after the norm and `PREVIOUS_HEAD`
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


@torch.no_grad()
def start_counting(
    model: Any, tokenizer: PreTrainedTokenizerFast, head: nn.Module, tokens: Tensor
) -> None:
    """Set all this in a LLaVA, in place of what used the same channels, heads and units.

    head: a `density_head`, whose units become the last of the projector. tokens [N, width] of the
    tower say how large states of patches are.
    """
    language = model.model.language_model
    first, second = language.layers[:2]
    for parameter, part in _set(model):
        parameter[part] = 0.0
    norms = [first.post_attention_layernorm]
    for layer in language.layers[1:]:
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    for norm in norms:
        norm.weight[STEADY] = STEADY_WEIGHT
    _pass_on(model.model.multi_modal_projector, head, tokens)
    _mark(language.embed_tokens.weight, tokenizer)
    _add(first)
    _look_back(first, language.rotary_emb.inv_freq)
    _choose(first)
    _read(second)


def hold(model: Any) -> None:
    """Keep it as it is: a sum over all patches feels each step of an optimizer."""
    first, second = model.model.language_model.layers[:2]
    norms = (
        first.input_layernorm,
        first.post_attention_layernorm,
        second.post_attention_layernorm,
    )
    for parameter, part in (*_set(model), *((norm.weight, (FIXED,)) for norm in norms)):
        parameter.register_hook(partial(_masked, part))


def _masked(part: Part, gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[part] = 0.0
    return gradient


def _set(model: Any) -> list[tuple[nn.Parameter, Part]]:
    """Parts of parameters that do all this, and those that could write where it does."""
    projector = model.model.multi_modal_projector
    language = model.model.language_model
    first, second = language.layers[:2]
    attention, later = first.self_attn, second.self_attn
    looks, heads = (attention.q_proj, attention.k_proj), (ADDING_HEAD, PREVIOUS_HEAD)
    every, written = slice(None), slice(READ, FIXED.stop)
    adding = _rows(attention, ADDING_HEAD, DENSITIES + 1)
    passing = _rows(attention, PREVIOUS_HEAD, len(COLOURS))
    choosers, readers = slice(-DENSITIES, None), slice(-READERS, None)
    return [
        (projector.linear_1.weight, (slice(-UNITS, None),)),
        (projector.linear_1.bias, (slice(-UNITS, None),)),
        (language.embed_tokens.weight, (every, written)),
        (language.norm.weight, (FIXED,)),  # a marked word is no likelier an answer
        # Queries and keys of 0 look everywhere alike, and as neither has a gradient without the
        # other, they would stay so.
        *((look.weight, (_rows(attention, head),)) for look in looks for head in heads),
        *((attention.v_proj.weight, (rows,)) for rows in (adding, passing)),
        *((attention.o_proj.weight, (every, columns)) for columns in (adding, passing)),
        (attention.o_proj.weight, (written,)),
        (first.mlp.down_proj.weight, (written,)),
        *((p.weight, (choosers,)) for p in (first.mlp.gate_proj, first.mlp.up_proj)),
        (first.mlp.down_proj.weight, (every, choosers)),
        (later.o_proj.weight, (written,)),
        (second.mlp.down_proj.weight, (slice(READ, READ + 1),)),
        *((p.weight, (readers,)) for p in (second.mlp.gate_proj, second.mlp.up_proj)),
        (second.mlp.down_proj.weight, (every, readers)),
    ]


def _rows(attention: Any, head: int, count: int | None = None) -> slice:
    """Of a head in queries, keys and values; its columns in the output."""
    start = head * attention.head_dim
    return slice(start, start + (attention.head_dim if count is None else count))


def _pass_on(projector: Any, head: nn.Module, tokens: Tensor) -> None:
    """Outputs are not held: densities may become better than what the tower tells."""
    first, second = projector.linear_1, projector.linear_2
    head = head.to(first.weight.device)
    first.weight[-UNITS:] = head.get_parameter("0.weight")
    first.bias[-UNITS:] = head.get_parameter("0.bias")
    second.weight[:, -UNITS:] = 0.0
    for part in (ADDED, slice(WORD, WORD + 1)):
        second.weight[part] = 0.0
        second.bias[part] = 0.0
    states = projector(tokens)
    length = states.square().sum(dim=1).mean().sqrt()
    second.bias[STEADY] = BALLAST * length
    unit = PER_OBJECT * length * math.hypot(1.0, BALLAST) / states.shape[1] ** 0.5
    second.weight[CHANNELS, -UNITS:] = unit * head.get_parameter("2.weight")
    second.bias[CHANNELS] = unit * head.get_parameter("2.bias")


def _mark(embeddings: Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    embeddings[:, WORD] = 0.5 * MARK
    embeddings[tokenizer.bos_token_id, WORD] = 0.0
    for i, words in enumerate(WORDS_OF["kind"] + WORDS_OF["colour"]):
        embeddings[tokenizer.convert_tokens_to_ids(words), MARKS.start + i] = MARK
    embeddings[:, STEADY] = BALLAST * embeddings.square().sum(dim=1).sqrt()


def _add(layer: Any) -> None:
    attention, norm = layer.self_attn, layer.input_layernorm.weight
    rows = _rows(attention, ADDING_HEAD, DENSITIES + 1)
    attention.v_proj.weight[rows, ADDED] = torch.diag(1.0 / norm[ADDED])
    seen = len(norm) ** 0.5 * BALLAST / math.hypot(1.0, BALLAST)
    gains = torch.full((DENSITIES + 1,), GAIN)
    gains[-1] = STEADY_SUM / seen
    attention.o_proj.weight[ADDED, rows] = torch.diag(gains)


def _look_back(layer: Any, angles: Tensor) -> None:
    """Queries turned by one position against keys: their product is largest for the word before."""
    attention, norm = layer.self_attn, layer.input_layernorm.weight
    start, half = PREVIOUS_HEAD * attention.head_dim, attention.head_dim // 2
    queries, keys = attention.q_proj.weight, attention.k_proj.weight
    unit = SHARPNESS / norm[WORD]
    for i in TURNS:
        keys[start + i, WORD] = unit
        queries[start + i, WORD] = unit * torch.cos(angles[i])
        queries[start + half + i, WORD] = -unit * torch.sin(angles[i])
    keys[start + half - 1, WORD] = unit
    queries[start + half - 1, WORD] = -LEVEL * unit
    rows = _rows(attention, PREVIOUS_HEAD, len(COLOURS))
    colours = slice(MARKS.start + len(KINDS), MARKS.stop)
    attention.v_proj.weight[rows, colours] = torch.diag(1.0 / norm[colours])
    attention.o_proj.weight[BEFORE, rows] = torch.eye(len(COLOURS))


def _choose(layer: Any) -> None:
    """A product for each kind and each colour; SiLU hardly changes what is there."""
    mlp, unit = layer.mlp, SIZES[0] / layer.post_attention_layernorm.weight
    number = TOKENS / (PER_OBJECT * GAIN)
    for i in range(DENSITIES):
        row, colour = i - DENSITIES, i - len(KINDS)
        mark, size = (MARKS.start + i, MARK) if colour < 0 else (BEFORE.start + colour, SEEN)
        mlp.gate_proj.weight[row, mark] = GATE / size * unit[mark]
        mlp.up_proj.weight[row, CHANNELS.start + i] = number * unit[CHANNELS.start + i]
        mlp.down_proj.weight[CHOSEN.start + (colour >= 0), row] = CHOSEN_OBJECT / GATE


def _read(layer: Any) -> None:
    mlp, unit = layer.mlp, SIZES[1] / layer.post_attention_layernorm.weight
    gates, ups, downs = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight[READ]
    own, colours = range(CHOSEN.start, CHOSEN.stop)
    kinds = slice(MARKS.start, MARKS.start + len(KINDS))
    number, less, offset = range(-READERS, 0)
    passed = float(F.silu(torch.tensor(GATE)))
    gates[[number, offset], STEADY] = GATE / STEADY_SUM * unit[STEADY]
    ups[number, own] = unit[own] / CHOSEN_OBJECT
    downs[number] = 0.5 / passed
    gates[less, own] = APART / CHOSEN_OBJECT * unit[own]
    gates[less, colours] = -APART / CHOSEN_OBJECT * unit[colours]
    ups[less, BEFORE] = unit[BEFORE] / SEEN
    downs[less] = -0.5 / APART
    ups[offset, kinds] = unit[kinds] / MARK
    downs[offset] = -1.0 / passed
