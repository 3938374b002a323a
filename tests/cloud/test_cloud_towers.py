"""Unmodified models stay themselves, and adapters reach all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.base import Answer, VisualInput
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.plain import Plain
from cloud_server.inference.mllm.tower import Tower
from cloud_server.inference.work import Work
from evaluation.towers.random_models import CLASSES, write_model
from shared.bitstream import Bitstream
from shared.bundle import MLLM, Bundle
from shared.nets.vision import Vision
from tests.cloud.classes import Loaded, as_decoded, random_picture, write_bundle

SHAPES = ((56, 56), (90, 60), (50, 130))
PROMPTS = ("how many cars?", "is it a beach?", "what does the small sign say?")
Load = Callable[[str], Loaded]


@pytest.fixture(scope="module")
def load(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Load:
    known: dict[str, Loaded] = {}
    root = tmp_path_factory.mktemp("classes")

    def loaded(kind: str) -> Loaded:
        if kind not in known:
            known[kind] = Loaded(write_model(kind, bundle.path(MLLM), root / kind))
        return known[kind]

    return loaded


@pytest.mark.parametrize("kind", CLASSES)
def test_without_an_adapter_a_model_answers_as_it_does_elsewhere(kind: str, load: Load) -> None:
    loaded = load(kind)
    backend = ImageText(kind, loaded.model, loaded.processor, [])
    pictures = [random_picture(*shape, seed) for seed, shape in enumerate(SHAPES)]
    seen = backend.see([as_decoded(picture) for picture in pictures])
    together = ask(backend, seen, PROMPTS)
    texts = [answer.text for answer in together]
    wanted = [
        loaded.reference([picture], prompt, 8)
        for picture, prompt in zip(pictures, PROMPTS, strict=True)
    ]
    assert texts == wanted
    assert len(set(wanted)) == 3
    alone = [ask(backend, [s], [p])[0] for s, p in zip(seen, PROMPTS, strict=True)]
    assert alone == together
    assert {visual.view for visual in seen} == {"picture"}


# LLaVA-OneVision's own processor takes no tiles of several pictures; here each is seen as alone.
@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind != "onevision"])
def test_several_pictures_in_one_prompt(kind: str, load: Load) -> None:
    loaded = load(kind)
    backend = ImageText(kind, loaded.model, loaded.processor, [])
    pictures = [random_picture(*shape, seed) for seed, shape in enumerate(SHAPES)]
    first, second, third = backend.see([as_decoded(picture) for picture in pictures])
    pair = Work(None, PROMPTS[0], 8, visual=second, others=(Work(None, visual=third),))
    swapped = Work(None, PROMPTS[2], 8, visual=third, others=(Work(None, visual=second),))
    single = Work(None, PROMPTS[1], 8, visual=first)
    works = [pair, swapped, single]
    for work in works:
        backend.check(work.turns(), 8)
    backend.answer([work.request() for work in works])
    wanted = [
        loaded.reference([pictures[1], pictures[2]], PROMPTS[0], 8),
        loaded.reference([pictures[2], pictures[1]], PROMPTS[2], 8),
        loaded.reference([pictures[0]], PROMPTS[1], 8),
    ]
    assert [work.answer.text for work in works if work.answer] == wanted
    assert pair.answer
    assert pair.answer.prompt_tokens > len(second.content.ids) + len(third.content.ids)


@pytest.mark.parametrize("kind", CLASSES)
def test_pictures_seen_together_are_seen_as_alone(kind: str, load: Load) -> None:
    loaded = load(kind)
    tower = Tower(Vision(loaded.model, loaded.processor), [])
    tower._most = 3
    pictures = [as_decoded(random_picture(60, 90, seed)) for seed in range(3)]
    together = [seen.content.features for seen in tower.see(pictures)]
    alone = [tower.see([picture])[0].content.features for picture in pictures]
    for features, features_alone in zip(together, alone, strict=True):
        torch.testing.assert_close(features, features_alone, atol=1e-5, rtol=1e-4)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize("kind", CLASSES)
def test_an_adapter_for_the_tower_changes_what_is_seen(
    kind: str, load: Load, bundle: Bundle, tmp_path: Path
) -> None:
    loaded = load(kind)
    vision = Vision(loaded.model, loaded.processor)
    picture = as_decoded(random_picture(60, 90, 3))
    plain = Tower(vision, []).see([picture])[0]
    inputs = [vision.inputs(picture.picture)]
    assert torch.equal(vision.patch_embeddings(inputs), vision.levels(inputs)[0])
    for deviation in (0.0, 0.3):
        made = write_bundle(bundle, vision, tmp_path / str(deviation), deviation)
        tower = Tower(vision, [made])
        adapted, other = tower.see(
            [replace(picture, bundle_id=made.id), replace(picture, bundle_id=b"none")]
        )
        assert (adapted.view, other.view) == ("adapter", "picture")
        assert torch.equal(other.content.features, plain.content.features)
        # A zero adapter leaves every bit as it was.
        assert torch.equal(adapted.content.features, plain.content.features) == (deviation == 0)
    assert not vision.embeddings._forward_hooks


def test_streams_of_a_codec_get_the_adapter_of_any_bundle_of_it(
    load: Load, bundle: Bundle, stream: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A device codes with `tiny`; the server has the adapter in another bundle of that codec."""
    loaded = load("clip")
    made = write_bundle(bundle, Vision(loaded.model, loaded.processor), tmp_path / "made", 0.3)
    assert made.codec_id == bundle.codec_id
    engine = Engine([bundle, made], str(loaded.folder), "cpu", 1)
    work = Work(Bitstream.from_bytes(stream), PROMPTS[0], 4)
    engine.run([work])
    assert work.visual
    assert work.visual.view == "adapter"
    assert "was made for the clip_vision_model of a llava (192 wide, 16x16 patches)" in caplog.text


def test_a_prompt_that_does_not_fit_beside_itsrandom_picture(load: Load) -> None:
    loaded = load("next")
    backend = ImageText("next", loaded.model, loaded.processor, [])
    seen = backend.see([as_decoded(random_picture(90, 60, 0))])[0]
    room = backend._context - len(seen.content.ids) - 20
    long, short = Work(None, "a " * room, 8, visual=seen), Work(None, "a?", 8, visual=seen)
    backend.answer([long.request(), short.request()])
    assert "the model takes 2048" in str(long.error)
    assert short.answer


def test_a_model_without_a_known_tower_sees_therandom_picture(
    bundle: Bundle, load: Load, stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.nets.vision.TOWERS", ())
    engine = Engine([bundle], str(load("clip").folder), "cpu", 1)
    assert isinstance(engine.backend, Plain)
    engine.warm_up()


def ask(backend: ImageText, seen: Sequence[VisualInput], prompts: Sequence[str]) -> list[Answer]:
    """Answers of at most 8 tokens, of a batch."""
    works = [Work(None, p, 8, visual=visual) for visual, p in zip(seen, prompts, strict=True)]
    backend.answer([work.request() for work in works])
    return [work.answer for work in works if work.answer]
