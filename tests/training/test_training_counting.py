"""A LLaVA that counts from its first step on: it adds up patches, and words choose their sums."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from scenes import COLOURS, KINDS, Question
from training.loop.square import SIDE
from training.small_models.clip import CONFIG, ClipWithHeads
from training.small_models.counting import (
    ADDED,
    BALLAST,
    CHANNELS,
    CHOSEN,
    CHOSEN_OBJECT,
    FIXED,
    PER_OBJECT,
    READ,
    SIZES,
    STEADY,
    WORD,
    densities,
    freeze_counting,
    start_counting,
)
from training.small_models.density import DENSITIES, UNITS
from training.small_models.llava import IMAGE_TOKENS, PREFIX, Sequences, build_llava
from training.small_models.tokenizer import build_tokenizer

NUMBERS = torch.zeros(DENSITIES)
NUMBERS[KINDS.index("car")] = 3.0
NUMBERS[KINDS.index("dog")] = 2.0
NUMBERS[len(KINDS) + COLOURS.index("red")] = 1.0
NUMBERS[len(KINDS) + COLOURS.index("blue")] = 4.0


@pytest.fixture
def llava() -> Any:
    torch.manual_seed(4)
    clip = ClipWithHeads(json.loads(CONFIG.read_text()))
    model = build_llava(clip, build_tokenizer())
    # As large as training makes them.
    torch.nn.init.normal_(model.model.language_model.embed_tokens.weight, std=0.09)
    model.density = clip.heads["density"]
    model.tokens = torch.randn(IMAGE_TOKENS, model.density[0].in_features)
    start_counting(model, build_tokenizer(), model.density, model.tokens)
    return model


@torch.no_grad()
def test_a_projector_starts_with_what_the_tower_tells(llava: Any) -> None:
    predicted = densities(llava.model.multi_modal_projector(llava.tokens)[None])[0]
    # States hardly differ in size.
    assert torch.allclose(predicted, llava.density(llava.tokens).T, rtol=0.1, atol=0.01)


def patches(width: int) -> Tensor:
    """States [N, width] of patches that together show `NUMBERS` of objects."""
    states = torch.randn(IMAGE_TOKENS, width)
    states[:, [*range(ADDED.start, ADDED.stop), WORD]] = 0.0
    states[:, STEADY] = BALLAST * math.sqrt(width)
    shares = torch.rand(IMAGE_TOKENS, 1).softmax(dim=0)
    states[:, CHANNELS] = PER_OBJECT * math.hypot(1.0, BALLAST) * NUMBERS * shares
    return states


@torch.no_grad()
def numbers_of(model: Any, prompt: str) -> dict[str, list[float]]:
    """Of each word of a question: its two numbers, half the number that it reads less 1, and the
    size of the state that it reads from."""
    tokenizer = build_tokenizer()
    ids = Sequences(tokenizer)([[Question("count", prompt, "0")]])["input_ids"]
    language = model.model.language_model
    states = language.embed_tokens(ids)
    states[0, 1:PREFIX] = patches(states.shape[2])
    after, before = [], []
    for layer in language.layers[:2]:
        layer.register_forward_hook(lambda _, inputs, out: after.append(out[0, PREFIX:]))
    language.layers[1].post_attention_layernorm.register_forward_pre_hook(
        lambda _, inputs: before.append(inputs[0][0, PREFIX:])
    )
    language(inputs_embeds=states)
    size = before[0].square().mean(dim=1, keepdim=True).sqrt()
    numbers = torch.cat([after[0][:, CHOSEN] / CHOSEN_OBJECT, after[1][:, READ, None], size], dim=1)
    words = tokenizer.convert_ids_to_tokens(ids[0, PREFIX:])
    return dict(zip(words, numbers.tolist(), strict=True))


@pytest.mark.parametrize(
    ("prompt", "word", "kind", "colour", "read"),
    [
        ("how many cars", "cars", 3.0, 0.0, 3.0),
        ("how many red cars", "cars", 3.0, 1.0, 1.0),
        ("count the blue dogs", "dogs", 2.0, 4.0, 2.0),
        ("is there a white car", "car", 3.0, 0.0, 0.0),
        ("how many trees", "trees", 0.0, 0.0, 0.0),
    ],
)
def test_a_word_finds_the_numbers_of_its_kind_and_of_the_colour_before(
    llava: Any, prompt: str, word: str, kind: float, colour: float, read: float
) -> None:
    words = numbers_of(llava, prompt)
    own, before, reads, size = words[word]
    assert [own, before] == pytest.approx([kind, colour], rel=0.15, abs=0.1)
    # Products of two channels; before training, states are smaller than they are set for.
    unit = (SIZES[1] / size) ** 2
    assert 1.0 < unit < 1.4
    smaller = own if read == kind else before
    assert reads == pytest.approx(unit * (smaller / 2 - 1), abs=0.1)
    others = [abs(numbers[0]) for other, numbers in words.items() if other != word]
    assert max(others) < 0.1


def test_what_counts_is_held_while_the_rest_learns(llava: Any) -> None:
    freeze_counting(llava)
    batch = Sequences(build_tokenizer())([[Question("count", "how many red cars", "3")]])
    before = {n: p.detach().clone() for n, p in llava.named_parameters()}
    llava(pixel_values=torch.randn(1, 3, SIDE, SIDE), **batch).loss.backward()
    torch.optim.SGD(llava.parameters(), 0.1).step()
    first, second = ("language_model.layers.0", "language_model.layers.1")
    choosers, readers = slice(-DENSITIES, None), slice(-3, None)
    held: dict[str, Any] = {
        "multi_modal_projector.linear_1.weight": slice(-UNITS, None),
        "multi_modal_projector.linear_1.bias": slice(-UNITS, None),
        "language_model.embed_tokens.weight": (slice(None), FIXED),
        f"{first}.self_attn.q_proj.weight": slice(48, 144),
        f"{first}.self_attn.k_proj.weight": slice(48, 144),
        f"{first}.self_attn.v_proj.weight": slice(48, 48 + DENSITIES),
        f"{first}.self_attn.o_proj.weight": FIXED,
        f"{first}.mlp.down_proj.weight": FIXED,
        f"{first}.mlp.gate_proj.weight": choosers,
        f"{first}.mlp.up_proj.weight": choosers,
        f"{second}.self_attn.o_proj.weight": FIXED,
        f"{second}.mlp.gate_proj.weight": readers,
        f"{second}.mlp.up_proj.weight": readers,
        f"{second}.mlp.down_proj.weight": READ,
    }
    for name, part in held.items():
        after = llava.get_parameter(f"model.{name}")
        assert torch.equal(after[part], before[f"model.{name}"][part])
        assert not torch.equal(after, before[f"model.{name}"])
