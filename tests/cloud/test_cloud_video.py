"""Models that take clips are shown them by their own processors, with times and adapter tokens."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cloud_server.inference.mllm.base import Turn
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.tower import Tower
from cloud_server.inference.work import Work
from evaluation.towers.random_models import CLIP_CLASSES, write_model
from shared.bundle import MLLM, Bundle
from shared.errors import FieldInvalid
from shared.nets.video import Video, metadata
from shared.nets.vision import Vision
from tests.cloud.classes import Loaded, as_decoded, random_picture, write_bundle

TIMES = (0.0, 0.5, 1.5, 2.0, 4.0)
FPS = 1.0  # four steps in four seconds
PROMPT = "what does the small thing do?"
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


def frames_of(count: int = 5, seed: int = 0) -> list[np.ndarray]:
    return [random_picture(60, 90, seed + n) for n in range(count)]


@pytest.mark.parametrize("kind", CLIP_CLASSES)
def test_a_clip_is_answered_about_as_elsewhere(kind: str, load: Load) -> None:
    """Token by token, in a batch with another clip and a picture, and alone."""
    loaded = load(kind)
    backend = ImageText(kind, loaded.model, loaded.processor, [])
    assert backend.see_clip is not None
    long, short, picture = frames_of(), frames_of(2, seed=9), random_picture(60, 90, 20)
    seen = [
        backend.see_clip([as_decoded(frame) for frame in long], TIMES),
        backend.see_clip([as_decoded(frame) for frame in short], TIMES[:2]),
        *backend.see([as_decoded(picture)]),
    ]
    assert [visual.frames for visual in seen] == [5, 2, 1]
    assert {visual.view for visual in seen} == {"picture"}
    works = [Work(None, PROMPT, 8, visual=visual) for visual in seen]
    for work in works:
        backend.check(work.turns(), 8)
    backend.answer([work.request() for work in works])
    keywords = {"video_metadata": [metadata(TIMES)]}
    wanted = [
        loaded.reference_of_clip(long, PROMPT, 8, **keywords),
        loaded.reference_of_clip(short, PROMPT, 8, video_metadata=[metadata(TIMES[:2])]),
        loaded.reference([picture], PROMPT, 8),
    ]
    assert [work.answer.text for work in works if work.answer] == wanted
    assert len(set(wanted)) == 3
    alone = Work(None, PROMPT, 8, visual=seen[0])
    backend.answer([alone.request()])
    assert alone.answer == works[0].answer
    assert alone.answer
    assert alone.answer.looked is None


def test_times_are_handed_on() -> None:
    """Uneven frames have the rate of the whole clip, and each its own time."""
    from transformers.video_utils import VideoMetadata

    made = VideoMetadata(**metadata(TIMES))
    assert made.timestamps == list(TIMES)
    assert made.sampled_fps == FPS
    assert VideoMetadata(**metadata([7.0])).timestamps == [0.0]


def test_qwen_counts_seconds(load: Load) -> None:
    loaded = load("qwen")
    video = Video.of(Vision(loaded.model, loaded.processor))
    assert video is not None
    slow = video.look(frames_of(4), [0.0, 2.0, 4.0, 6.0])[1]
    fast = video.look(frames_of(4), [0.0, 0.5, 1.0, 1.5])[1]
    assert slow["second_per_grid_ts"].tolist() == [4.0]
    assert fast["second_per_grid_ts"].tolist() == [1.0]
    assert torch.equal(slow["pixel_values_videos"], fast["pixel_values_videos"])


@pytest.mark.parametrize("kind", CLIP_CLASSES)
def test_tokens_are_added_to_frames_where_each_has_patches_of_its_own(
    kind: str, load: Load, bundle: Bundle, tmp_path: Path
) -> None:
    loaded = load(kind)
    vision = Vision(loaded.model, loaded.processor)
    frames = [as_decoded(frame, seed) for seed, frame in enumerate(frames_of(3))]
    plain = Tower(vision, []).see_clip(frames, TIMES[:3]).content.features
    made = write_bundle(bundle, vision, tmp_path / "made", 0.3)
    zero = write_bundle(bundle, vision, tmp_path / "zero", 0.0)
    for each, changes in ((made, True), (zero, False)):
        tower = Tower(vision, [each])
        own_frames = [replace(frame, bundle_id=each.id) for frame in frames]
        adapted = tower.see_clip(own_frames, TIMES[:3])
        adapts = kind != "qwen"  # a patch of its tower holds two frames
        assert adapted.view == ("adapter" if adapts else "picture")
        assert torch.equal(adapted.content.features, plain) == (not (changes and adapts))
        mixed = tower.see_clip([*own_frames[:2], frames[2]], TIMES[:3])
        assert mixed.view == "picture"
        assert torch.equal(mixed.content.features, plain)
    assert not vision.embeddings._forward_hooks


@pytest.mark.parametrize("kind", ["next_video", "onevision"])
def test_each_frame_gets_the_tokens_of_its_own_latents(
    kind: str, load: Load, bundle: Bundle, tmp_path: Path
) -> None:
    loaded = load(kind)
    vision = Vision(loaded.model, loaded.processor)
    made = write_bundle(bundle, vision, tmp_path / "made", 0.3)
    tower = Tower(vision, [made])
    frames = [
        replace(as_decoded(frame, seed), bundle_id=made.id)
        for seed, frame in enumerate(frames_of(3))
    ]
    other = [*frames[:2], replace(as_decoded(frames_of(3)[2], 7), bundle_id=made.id)]
    features, other_features = (
        tower.see_clip(each, TIMES[:3]).content.features for each in (frames, other)
    )
    # A frame is 2x2 tokens here; the last of LLaVA-OneVision's ends the clip.
    same = (features[:12] == other_features[:12]).all(dim=1).tolist()
    assert same == [True] * 8 + [False] * 4


def test_a_template_without_a_place_for_clips_shows_pictures(load: Load) -> None:
    loaded = load("onevision")
    processor = copy.copy(loaded.processor)
    processor.chat_template = processor.chat_template.replace("<video>", "")
    assert ImageText("onevision", loaded.model, processor, []).see_clip is None
    assert ImageText("onevision", loaded.model, loaded.processor, []).see_clip is not None


def test_a_clip_that_does_not_fit_is_refused_before_it_is_decoded(load: Load) -> None:
    loaded = load("onevision")
    backend = ImageText("onevision", loaded.model, loaded.processor, [])
    fits = [Turn("user", PROMPT, 2, (1, 100))]
    backend.check(fits, 8)
    with pytest.raises(FieldInvalid, match="the model takes 2048"):
        backend.check([Turn("user", PROMPT, 2, (1, 600))], 8)
