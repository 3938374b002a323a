"""Towers convert without loss, and a question in a sequence of many is asked as if alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from scenes import Question
from training.loop.square import SIDE
from training.small_models.clip import CONFIG, ClipWithHeads, tokenize
from training.small_models.conversion import convert_tower
from training.small_models.llava import (
    PREFIX,
    Sequences,
    build_llava,
    build_processor,
    right_answers,
)
from training.small_models.tokenizer import END, IMAGE, START, build_tokenizer

QUESTIONS = [
    Question("count", "how many red cars are there?", "3"),
    Question("print", "what does the sign say", "hotel"),
    Question("unknown", "who painted this?", "i cannot tell"),
]


@pytest.fixture(scope="module")
def clip() -> ClipWithHeads:
    torch.manual_seed(1)
    return ClipWithHeads(json.loads(CONFIG.read_text())).eval()


@pytest.fixture(scope="module")
def llava(clip: ClipWithHeads) -> Any:
    torch.manual_seed(2)
    return build_llava(clip, build_tokenizer()).eval()


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_a_converted_tower_gives_the_same_tokens(clip: ClipWithHeads, picture: Tensor) -> None:
    visual = clip.clip.visual
    tower = convert_tower(visual)
    x = visual._embeds(picture)
    assert torch.allclose(tower.pre_layrnorm(tower.embeddings(picture)), x, atol=1e-4)
    for block in visual.transformer.resblocks:
        x = block(x)
    output = tower(picture)
    assert torch.allclose(output.last_hidden_state, x, atol=1e-4)
    assert torch.allclose(output.pooler_output @ visual.proj, visual(picture)[0], atol=1e-4)


@torch.no_grad()
def test_each_question_is_asked_as_if_alone(llava: Any, picture: Tensor) -> None:
    sequences = Sequences(build_tokenizer())
    together = _logits(llava, sequences, picture, QUESTIONS)
    place = PREFIX
    for question in QUESTIONS:
        ids = sequences([[question]])["input_ids"]
        # Without our mask and positions: the way in which a server asks.
        alone = llava(pixel_values=picture, input_ids=ids).logits
        length = ids.shape[1] - PREFIX
        assert torch.allclose(together[0, place : place + length], alone[0, PREFIX:], atol=1e-4), (
            question
        )
        place += length
    assert place == together.shape[1]


@torch.no_grad()
def test_padding_and_neighbours_in_a_batch_change_nothing(llava: Any, picture: Tensor) -> None:
    sequences = Sequences(build_tokenizer())
    batch = sequences([QUESTIONS[:1], QUESTIONS])
    labels = batch.pop("labels")
    assert batch["attention_mask"].shape == (2, 1, labels.shape[1], labels.shape[1])
    both = llava(pixel_values=torch.cat([picture, picture.flip(3)]), **batch).logits
    alone = _logits(llava, sequences, picture, QUESTIONS[:1])
    assert torch.allclose(both[:1, : alone.shape[1]], alone, atol=1e-4)


def test_labels_are_the_answers_and_their_ends() -> None:
    tokenizer = build_tokenizer()
    labels = Sequences(tokenizer)([QUESTIONS])["labels"][0]
    text = tokenizer.decode(labels[labels != -100])
    assert [answer.strip() for answer in text.split(END)] == ["3", "hotel", "i cannot tell", ""]
    assert (labels[:PREFIX] == -100).all()


def test_an_answer_is_right_in_all_of_its_tokens_or_wrong() -> None:
    labels = Sequences(build_tokenizer())([QUESTIONS])["labels"]
    logits = torch.zeros(*labels.shape, 512)
    wanted = labels.clamp_min(0).roll(-1, 1)
    logits.scatter_(2, wanted.unsqueeze(2), 1.0)
    assert right_answers(logits, labels) == [[True, True, True]]
    spoilt = (labels[0] != -100).nonzero().flatten()[4]  # inside of "hotel"
    logits[0, spoilt - 1] = torch.eye(512)[5]
    assert right_answers(logits, labels) == [[True, False, True]]


def test_words_of_the_world_are_one_token_and_others_are_spelled() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.tokenize("How many CARS?") == ["how", "many", "cars", "?"]
    assert tokenizer.tokenize("taxi 42") == ["t", "##a", "##x", "##i", "4", "##2"]
    assert tokenizer.decode(tokenizer("hotel").input_ids) == "hotel"
    assert [tokenizer.convert_tokens_to_ids(t) for t in (END, START, IMAGE)] == [2, 3, 4]
    assert len(tokenizer) <= json.loads(CONFIG.read_text())["text_cfg"]["vocab_size"]


def test_captions_end_and_are_padded() -> None:
    ids = tokenize(["a street with a red car", "a picture of two dogs"], 12)
    assert ids.shape == (2, 12)
    ends = [row.tolist().index(2) for row in ids]
    assert ends == [6, 5]
    assert all((row[end + 1 :] == 0).all() for row, end in zip(ids, ends, strict=True))


def test_the_processor_writes_the_same_prompt_as_training() -> None:
    processor = build_processor(build_tokenizer())
    message = [{"type": "image"}, {"type": "text", "text": QUESTIONS[0].prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": message}])
    asked = processor.tokenizer(text.replace(f"{IMAGE} ", ""), add_special_tokens=False).input_ids
    row = Sequences(build_tokenizer())([QUESTIONS[:1]])["input_ids"][0].tolist()
    assert asked == [row[0], *row[PREFIX : PREFIX + len(asked) - 1]]


def _logits(llava: Any, sequences: Sequences, picture: Tensor, questions: list[Question]) -> Tensor:
    batch = sequences([questions])
    batch.pop("labels")
    logits: Tensor = llava(pixel_values=picture, **batch).logits
    return logits
