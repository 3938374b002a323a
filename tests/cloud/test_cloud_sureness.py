"""How sure answers are and where the model looked: of every class, at no pass of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from cloud_server.calibration import Calibration, calibration_of, log_odds
from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.work import Work
from cloud_server.settings import load_settings
from evaluation.towers.random_models import CLASSES, write_model
from shared.bitstream import Bitstream
from shared.bundle import MLLM, Bundle
from shared.errors import UsageError
from shared.level_map import latent_shape

PROMPTS = ("how many cars?", "is it a beach?", "what does the small sign say?")
PLACES = {"clip", "siglip", "qwen"}
"""Classes whose features stand for patches or squares of four; the others' are tiles."""


@pytest.fixture(scope="module")
def engine(bundle: Bundle, talkative: Path) -> Engine:
    return Engine([bundle], str(talkative), "cpu", 1)


def answered(engine: Engine, streams: Sequence[bytes], count: int) -> list[Answer]:
    works = [
        Work(Bitstream.from_bytes(stream), prompt, count)
        for stream, prompt in zip(streams, PROMPTS, strict=False)
    ]
    engine.run(works)
    answers = [work.answer for work in works if work.answer]
    assert len(answers) == len(works)
    return answers


def test_a_batch_is_as_sure_as_one_by_one(engine: Engine, streams: list[bytes]) -> None:
    together = answered(engine, streams, 4)
    alone = [answered(engine, [stream] * 3, 4)[i] for i, stream in enumerate(streams)]
    for answer, answer_alone in zip(together, alone, strict=True):
        assert answer.sureness == pytest.approx(answer_alone.sureness, rel=1e-3)
        assert answer.looked is not None
        assert answer_alone.looked is not None
        np.testing.assert_allclose(answer.looked, answer_alone.looked, rtol=1e-3, atol=1e-6)


def test_where_it_looked_is_the_attention_of_the_prompts_last_token(
    bundle: Bundle, talkative: Path, streams: list[bytes]
) -> None:
    """As transformers' own implementation tells it that keeps all weights."""
    engine = Engine([bundle], str(talkative), "cpu", 1)
    backend = engine.backend
    assert isinstance(backend, ImageText)
    work = Work(Bitstream.from_bytes(streams[1]), PROMPTS[0], 1)
    engine.run([work])
    assert work.answer is not None
    assert work.answer.looked is not None
    assert work.answer.looked.shape == latent_shape(256, 170)
    ids = torch.tensor([backend._row(work.request()).ids])
    eager: Any = AutoModelForImageTextToText.from_pretrained(
        talkative, attn_implementation="eager", dtype=torch.float32
    ).eval()
    embedded = eager.get_input_embeddings()(ids)
    picture = ids[0] == backend._mark
    assert work.visual is not None
    embedded[0, picture] = work.visual.content.features
    with torch.inference_mode():
        output = eager(inputs_embeds=embedded, output_attentions=True)
    assert len(output.attentions) == 4
    rows = torch.stack([layer[0, :, -1] for layer in output.attentions[1:3]])
    expected = rows.mean(dim=(0, 1))[picture].reshape(16, 16)[:11].numpy()
    np.testing.assert_allclose(work.answer.looked, expected, rtol=2e-3, atol=1e-6)
    likeliest = output.logits[0, -1].softmax(-1).max()
    assert work.answer.sureness == pytest.approx(float(likeliest), rel=1e-3)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_is_sure_of_something(
    kind: str, bundle: Bundle, streams: list[bytes], tmp_path: Path
) -> None:
    engine = Engine([bundle], str(write_model(kind, bundle.path(MLLM), tmp_path)), "cpu", 1)
    for answer, shape in zip(answered(engine, streams, 3), ((16, 16), (11, 16)), strict=False):
        assert answer.sureness is not None
        assert 0 < answer.sureness < 1
        assert (answer.looked is not None) == (kind in PLACES)
        if answer.looked is not None:
            assert answer.looked.shape == shape
            assert answer.looked.min() >= 0


def test_calibration_keeps_the_order_and_ends() -> None:
    calibration = Calibration(0.5, -1.0)
    confidences = [calibration.confidence(sureness) for sureness in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert confidences == sorted(confidences)
    assert confidences[2] == pytest.approx(1 / (1 + math.exp(1)))
    assert 0 < confidences[0] < confidences[-1] < 1
    assert log_odds(0.5) == 0


def test_a_calibration_can_be_set(bundle: Bundle) -> None:
    assert calibration_of(load_settings(calibration="0.5,-1"), [bundle]) == Calibration(0.5, -1.0)
    assert calibration_of(load_settings(mllm="of/another"), [bundle]) == Calibration()
    for wrong in ("0.5", "a,b", "1,2,3"):
        with pytest.raises(UsageError, match="COTAM_CALIBRATION"):
            calibration_of(load_settings(calibration=wrong), [bundle])
