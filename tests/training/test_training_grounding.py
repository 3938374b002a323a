"""Attention that is taught where to look: still attention, and cheapest where it looks right."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from scenes import CHARACTERS, COLOURS, KINDS, Question
from training.loop.square import SIDE
from training.loop.world import Objects
from training.small_models.clip import CONFIG, ClipWithHeads
from training.small_models.counting import CHANNELS, PER_OBJECT
from training.small_models.grounding import PATCH_LABELS, Grounding
from training.small_models.llava import IMAGE_TOKENS, Sequences, build_llava
from training.small_models.tokenizer import build_tokenizer

WIDTH = 192
CAR, DOG = 1 + KINDS.index("car"), 1 + KINDS.index("dog")
RED, BLUE = 1 + COLOURS.index("red"), 1 + COLOURS.index("blue")
QUESTIONS = [
    Question("count", "how many red cars", "1"),
    Question("presence", "is there a tree", "no"),
    Question("number", "what number is on the sign", "42"),
    Question("relation", "is the red car left of the dog", "yes"),
]


@pytest.fixture(scope="module")
def llava() -> Any:
    torch.manual_seed(2)
    clip = ClipWithHeads(json.loads(CONFIG.read_text())).eval()
    return build_llava(clip, build_tokenizer()).train()


@pytest.fixture(scope="module")
def ids() -> Tensor:
    return Sequences(build_tokenizer())([QUESTIONS])["input_ids"]


@pytest.fixture(scope="module")
def patches() -> dict[str, Tensor]:
    """A red car on patches 10 and 11, a blue one on 20, a dog on 30, "42" on patches 40 and 41."""
    labels = {name: torch.zeros(1, IMAGE_TOKENS, dtype=torch.long) for name in PATCH_LABELS}
    for patch, kind, colour in ((10, CAR, RED), (11, CAR, RED), (20, CAR, BLUE), (30, DOG, RED)):
        labels["kind"][0, patch], labels["colour"][0, patch] = kind, colour
    for patch, character in ((40, "4"), (41, "2")):
        labels["character"][0, patch] = 1 + CHARACTERS.index(character)
        labels["place"][0, patch] = patch - 39
    return labels


@pytest.fixture(scope="module")
def objects() -> Objects:
    """The red car shows more on its second patch."""
    shares = torch.zeros(1, 3, IMAGE_TOKENS)
    shares[0, 0, 10:12] = torch.tensor([0.4, 0.6])
    shares[0, 1, 20] = shares[0, 2, 30] = 1.0
    return Objects(shares, torch.tensor([[CAR, CAR, DOG]]), torch.tensor([[RED, BLUE, RED]]))


@torch.no_grad()
def test_attention_that_is_shown_gives_what_attention_gives(llava: Any) -> None:
    batch = Sequences(build_tokenizer())([QUESTIONS, QUESTIONS[:1]])
    batch.pop("labels")
    generator = torch.Generator().manual_seed(3)
    batch["pixel_values"] = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    plain = llava(**batch).logits
    llava.set_attn_implementation("eager")
    shown = llava(**batch, output_attentions=True, output_hidden_states=True)
    llava.set_attn_implementation("sdpa")
    assert torch.allclose(shown.logits, plain, atol=1e-4)
    length = batch["input_ids"].shape[1]
    assert [layer.shape for layer in shown.attentions] == [(2, 4, length, length)] * 4
    assert [layer.shape for layer in shown.hidden_states] == [(2, length, WIDTH)] * 5
    sums = torch.stack(shown.attentions).sum(dim=-1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-4)


def loss(
    ids: Tensor,
    patches: dict[str, Tensor],
    objects: Objects,
    attentions: list[Tensor] | None = None,
    states: dict[int, Tensor] | None = None,
) -> float:
    """Of attention that looks everywhere alike and of states that hold nothing, but for these."""
    length = ids.shape[1]
    spread = [torch.full((1, 4, length, length), 1.0 / length)] * 4
    empty = [torch.zeros(1, length, WIDTH)] * 5
    layers = [(states or {}).get(number, state) for number, state in enumerate(empty)]
    grounding = Grounding(build_tokenizer())
    return float(grounding.loss(ids, patches, objects, attentions or spread, layers))


def test_looking_right_costs_least(
    ids: Tensor, patches: dict[str, Tensor], objects: Objects
) -> None:
    words = build_tokenizer().convert_ids_to_tokens(ids[0].tolist())
    spread = torch.full((1, 4, ids.shape[1], ids.shape[1]), 1.0 / ids.shape[1])

    def cost(layer: int, head: int, place: int, looks: dict[int, float]) -> float:
        """Loss where one head looks, from one place, at these patches; -1 is the sink."""
        layers = [spread.clone() for _ in range(4)]
        layers[layer][0, head, place] = 0.0
        for patch, share in looks.items():
            layers[layer][0, head, place, 1 + patch] = share
        return loss(ids, patches, objects, layers)

    cars, tree = words.index("cars"), words.index("tree")
    assert cost(0, 0, cars, {10: 0.5, 20: 0.5}) < cost(0, 0, cars, {30: 1.0})
    assert cost(1, 0, cars, {10: 0.5, 11: 0.5}) < cost(1, 0, cars, {20: 1.0})
    assert cost(0, 0, tree, {-1: 1.0}) < cost(0, 0, tree, {10: 1.0})
    four, two = words.index("4"), words.index("##2")
    ends = [i for i, word in enumerate(words) if word == ":"]
    for layer in (2, 3):
        for head in (1, 2):
            right = cost(layer, head, ends[0], {cars - 1: 1.0})
            assert right < cost(layer, head, ends[0], {tree - 1: 1.0})
        right = cost(layer, 3, ends[3], {words.index("left") - 1: 1.0})
        assert right < cost(layer, 3, ends[3], {words.index("dog") - 1: 1.0})
        assert cost(layer, 0, four - 1, {40: 1.0}) < cost(layer, 0, four - 1, {41: 1.0})
        assert cost(layer, 0, two - 1, {41: 1.0}) < cost(layer, 0, two - 1, {40: 1.0})


def test_patches_that_show_their_densities_cost_least(
    ids: Tensor, patches: dict[str, Tensor], objects: Objects
) -> None:
    def cost(cars: float, patch: int) -> float:
        """Loss where a patch says that it shows part of a car, beside the rest of what is true."""
        density = objects.density()
        density[0, CAR - 1, patch] = cars
        states = torch.zeros(1, ids.shape[1], WIDTH)
        states[0, 1 : 1 + IMAGE_TOKENS, CHANNELS] = PER_OBJECT * density[0].T
        # A state's mean square is 1.
        states[0, :, 0] = (WIDTH - states[0].square().sum(dim=-1)).sqrt()
        return loss(ids, patches, objects, states={0: states})

    assert cost(0.4, 10) < cost(0.3, 10)
    assert cost(0.4, 10) < cost(0.5, 10)
    assert cost(0.4, 10) < cost(0.1, 90)


def test_saying_what_is_where_costs_least(
    ids: Tensor, patches: dict[str, Tensor], objects: Objects
) -> None:
    words = build_tokenizer().convert_ids_to_tokens(ids[0].tolist())
    end = [i for i, word in enumerate(words) if word == ":"][3]

    def cost(row: float, column: float, left: float) -> float:
        """Loss where the end of the last question says how far the car is from the dog."""
        states = torch.zeros(1, ids.shape[1], WIDTH)
        states[0, end, :3] = torch.tensor([row, column, left])
        return loss(ids, patches, objects, states={3: states})

    # The car is on patches 10 and 11 of the first row, the dog on the 14th of the second.
    across = -6.8 / 15
    assert cost(-2 / 15, across, -2 * across) < cost(2 / 15, across, -2 * across)
    assert cost(-2 / 15, across, -2 * across) < cost(-2 / 15, -across, -2 * across)
    assert cost(-2 / 15, across, -2 * across) < cost(-2 / 15, across, 2 * across)
