"""Grading all questions in one pass equals greedy decoding, one question at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cloud_server.inference.work import Work
from evaluation.codecs.cotam import CotamCodec, bare, without_adapter
from evaluation.judges.packed_questions import PackedLlava
from scenes import Backgrounds, Question, render
from shared.bundle import Bundle

LENGTH = 6
PROMPTS = ("how many cars", "is there a dog", "what does the red sign say", "where is the tree")


@pytest.fixture(scope="module")
def llava(bundle: Bundle) -> PackedLlava:
    return PackedLlava(bundle)


@pytest.fixture(scope="module")
def features(llava: PackedLlava, bundle: Bundle) -> Tensor:
    """Three views of a scene: uncompressed, decoded alone, decoded with adapter tokens."""
    cotam = CotamCodec(bundle)
    picture = render("test", 0, Backgrounds()).picture
    decoded = cotam.decode(cotam.encode(cotam.analyse(picture, True), 1.0))
    return llava.see([bare(picture), without_adapter(decoded), decoded])


@torch.inference_mode()
def greedy(llava: PackedLlava, picture: Tensor, question: list[int]) -> list[int]:
    """What the model writes, one token after the other, no cache, no mask, no batch."""
    embed = llava.model.get_input_embeddings()
    written: list[int] = []
    while len(written) < LENGTH:
        head, rest = embed(torch.tensor(llava.head)), embed(torch.tensor(question + written))
        together = torch.cat([head, picture, rest]).unsqueeze(0)
        written.append(int(llava.model(inputs_embeds=together).logits[0, -1].argmax()))
    return written


def test_what_greedy_decoding_writes_is_right_and_anything_else_wrong(
    llava: PackedLlava, features: Tensor
) -> None:
    questions = [llava.ask(Question("", prompt, ""))[0] for prompt in PROMPTS]
    for picture in range(len(features)):
        written = [greedy(llava, features[picture], question) for question in questions]
        cut = [answer[: 1 + i] for i, answer in enumerate(written)]
        wrong = [[*answer[:-1], abs(answer[-1] - 1)] for answer in cut]
        asked = [*zip(questions, cut, strict=True), *zip(questions, wrong, strict=True)]
        grades = llava.grade(features[picture : picture + 1], asked)
        assert grades.right.tolist() == [[True] * len(cut) + [False] * len(cut)]


def test_what_the_cloud_answers_is_right(llava: PackedLlava, features: Tensor) -> None:
    """The same pictures through the backend's own `answer`, where it ends by itself."""
    features_of_backend = llava.backend.see([bare(np.zeros((64, 64, 3), np.uint8))])[
        0
    ].content.features
    assert torch.equal(features_of_backend, llava.see([bare(np.zeros((64, 64, 3), np.uint8))])[0])
    seen = llava.backend.see([bare(render("test", 1, Backgrounds()).picture)])[0]
    works = [Work(None, prompt, 12, visual=seen) for prompt in PROMPTS]
    llava.backend.answer([work.request() for work in works])
    for prompt, work in zip(PROMPTS, works, strict=True):
        assert work.answer
        answer = work.answer
        question, tokens = llava.ask(Question("", prompt, answer.text))
        if answer.finish == "stop" and len(tokens) == answer.completion_tokens + 1:
            assert llava.grade(seen.content.features.unsqueeze(0), [(question, tokens)]).right.all()


def test_neighbours_in_a_pass_change_nothing(llava: PackedLlava, features: Tensor) -> None:
    scene = render("test", 2, Backgrounds())
    asked = [llava.ask(question) for question in scene.questions]
    together = llava.grade(features, asked)
    alone = [[llava.grade(f.unsqueeze(0), [question]) for question in asked] for f in features]
    assert together.right.tolist() == [[grades.right[0, 0] for grades in row] for row in alone]
    probable = [[grades.probable[0, 0] for grades in row] for row in alone]
    assert together.probable == pytest.approx(np.array(probable), abs=1e-4)


def test_what_is_right_is_probable(llava: PackedLlava, features: Tensor) -> None:
    """A wrong answer has a likelier first token somewhere; a right one has none."""
    scene = render("test", 3, Backgrounds())
    grades = llava.grade(features, [llava.ask(question) for question in scene.questions])
    assert ((grades.probable > 0) & (grades.probable <= 1)).all()
    assert grades.right[grades.probable > 0.5].all()
    assert grades.probable[grades.right].mean() > 0.5
