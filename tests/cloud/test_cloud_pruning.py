"""Visual tokens that are not read: which, where the others stand, and that nothing else changes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.attention import Watch, _attend
from cloud_server.inference.mllm.base import VisualInput
from cloud_server.inference.mllm.generation import generate
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.pruning import prune
from cloud_server.inference.mllm.tower import Looked
from cloud_server.inference.work import Work
from cloud_server.settings import load_settings
from evaluation.towers.random_models import CLASSES, write_model
from shared.bundle import MLLM, Bundle
from shared.errors import UsageError
from shared.level_map import LevelMap
from shared.nets.vision import Vision
from tests.cloud.classes import Loaded, as_decoded, random_picture
from tests.cloud.test_cloud_towers import ask

HEIGHT, WIDTH = 96, 128
FINE = np.s_[1:3, 4:7]  # latents of the upper level


Load = Callable[[str], Loaded]


@pytest.fixture(scope="module")
def load(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Load:
    root = tmp_path_factory.mktemp("pruned")
    return lambda kind: Loaded(write_model(kind, bundle.path(MLLM), root / kind))


def mapped(height: int = HEIGHT, width: int = WIDTH) -> Any:
    values = np.zeros((height // 16, width // 16), np.uint8)
    values[FINE] = 1
    level_map = LevelMap(values, 16, 2, 30)
    return replace(
        as_decoded(random_picture(height, width, 1)),
        level_map=level_map,
        codes=level_map.codes(60, width, height),
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_any_class_reads_as_many_tokens_as_it_is_told(kind: str, load: Load) -> None:
    loaded = load(kind)
    _check_places(loaded)
    whole = ImageText(kind, loaded.model, loaded.processor, [])
    half = ImageText(kind, loaded.model, loaded.processor, [], keep=0.5)
    flat = as_decoded(random_picture(56, 56, 2))
    all_of, plain = whole.see([mapped(), flat])
    seen, other = half.see([mapped(), flat])
    assert other.content.pruned is None  # without a level map nothing is known
    look: Looked = seen.content
    assert look.pruned
    count, kept = look.pruned.count, len(look.features)
    places = half.tower.vision.places(HEIGHT, WIDTH)
    assert places is not None
    ends = int(np.isnan(places[:, 0]).sum())
    assert kept == ends + math.ceil((count - ends) / 2)
    assert seen.size < all_of.size
    full, short = ask(whole, [all_of], ["how many?"])[0], ask(half, [seen], ["how many?"])[0]
    assert full.prompt_tokens - short.prompt_tokens == count - kept
    assert short.looked is None or short.looked.shape == (HEIGHT // 16, WIDTH // 16)
    together = ask(half, [other, seen], ["is it a beach, or something else?", "how many?"])
    assert together[1].text == short.text
    assert together[0] == ask(whole, [plain], ["is it a beach, or something else?"])[0]
    assert short.text == _masked(half, look)
    both = Work(None, "what?", 4, visual=seen, others=(Work(None, visual=other),))
    half.answer([both.request()])
    assert both.answer


def _masked(backend: ImageText, look: Looked) -> str:
    """The answer where what is not read is there, and hidden from attention."""
    assert look.pruned
    features = torch.zeros(look.pruned.count, look.features.shape[1])
    features[torch.from_numpy(look.pruned.kept)] = look.features
    shown = VisualInput("picture", replace(look, features=features, pruned=None), 0)
    work = Work(None, "how many?", 8, visual=shown)
    ids = torch.tensor([backend._row(work.request()).ids])
    inputs: dict[str, Any] = {**look.inputs, "input_ids": ids}
    if "mm_token_type_ids" in backend._processor.model_input_names:
        kinds = backend._processor.create_mm_token_type_ids(ids.tolist())
        inputs["mm_token_type_ids"] = torch.tensor(kinds)
    mask = torch.ones_like(ids)
    inputs["position_ids"] = backend._model._prepare_position_ids_for_generation(
        ids, {**inputs, "attention_mask": mask}
    )
    at = torch.where(ids[0] == backend._mark)[0]
    each = torch.from_numpy(look.pruned.sizes)
    mask[0, at] = (each > 0).long()
    sizes = torch.ones_like(ids)
    sizes[0, at] = each
    packed: Any = features if backend.tower.vision.packs_one else [features]
    seen = BaseModelOutputWithPooling(pooler_output=packed)
    inputs |= {"attention_mask": mask, "mm_encoder_outputs": {"image": seen}}
    with torch.inference_mode(), backend.watch.sized(sizes):
        generate(backend._model, backend._tokenizer, inputs, [work.request()])
    assert work.answer
    return work.answer.text


def _check_places(loaded: Loaded) -> None:
    """In a tower whose layers pass on what they get, a feature sees what is at its place alone."""
    model = copy.deepcopy(loaded.model)
    vision = Vision(model, loaded.processor)
    with torch.no_grad():
        for name, weight in vision.tower.named_parameters():
            if ".layers." in name or ".layer." in name or "blocks." in name:
                weight.zero_()
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    marked = black.copy()
    marked[24:64, 16:72] = 255
    with torch.inference_mode():
        before, after = (
            vision.features([vision.inputs(picture)])[0] for picture in (black, marked)
        )
    changed = ~torch.isclose(before, after, atol=1e-5).all(1).numpy()
    places = vision.places(HEIGHT, WIDTH)
    assert places is not None
    assert len(places) == len(changed)
    x, y = places[:, 0] * WIDTH, places[:, 1] * HEIGHT
    inside = (x > 24) & (x < 64) & (y > 32) & (y < 56)
    outside = (x < -12) | (x > 100) | (y < -4) | (y > 92) | np.isnan(x)
    assert inside.any()
    assert changed[inside].all()
    assert not changed[outside].any()


def test_tokens_of_finer_cells_are_read_and_the_rest_is_one() -> None:
    codes = mapped().codes
    rows, columns = codes.shape
    y, x = np.indices(codes.shape).reshape(2, -1) + 0.5
    places = np.stack([x / columns, y / rows], axis=1).astype(np.float32)
    places = np.concatenate([places, [[np.nan, np.nan], [1.4, 0.2]]]).astype(np.float32)
    fine = int((codes == codes.max()).sum())
    pruned = prune(codes, places, HEIGHT, WIDTH, (fine + 1) / (len(places) - 1))
    assert pruned
    kept = set(pruned.kept.tolist())
    assert kept - {int(pruned.kept[pruned.mean])} == {*np.flatnonzero(codes.ravel() == 90), len(x)}
    features = torch.arange(len(places)).float()[:, None]
    read = pruned.of(features)
    others = [n for n in range(len(places)) if n not in kept or n == pruned.kept[pruned.mean]]
    assert float(read[pruned.mean]) == pytest.approx(np.mean(others))
    assert np.isclose(pruned.spread(np.ones(len(kept), np.float32)).sum(), len(kept))
    tiny = prune(codes, places, HEIGHT, WIDTH, 1e-9)
    assert tiny
    assert len(tiny.kept) == 2  # the end of a row, and one for all
    assert prune(codes, places, HEIGHT, WIDTH, 1.0) is None
    assert prune(np.full_like(codes, 60), places, HEIGHT, WIDTH, 0.5) is None


def test_the_mean_gets_the_attention_of_all_that_it_stands_for() -> None:
    module = torch.nn.Module()
    text = SimpleNamespace(_attn_implementation="eager")
    config = SimpleNamespace(get_text_config=lambda: text)
    module.watch, module.layer_idx = Watch(SimpleNamespace(config=config)), 0
    key = torch.randn(1, 2, 4, 8)
    each = torch.tensor([[1, 3, 1, 1]])
    again = key.repeat_interleave(each[0], dim=2)
    for asking in (1, 4):
        query = torch.randn(1, 4, asking, 8)
        module.num_key_value_groups = 2
        with module.watch.sized(each):
            attended, _ = _attend(module, query, key, key, None)
        module.watch.sizes = None
        wanted, _ = _attend(module, query[:, :, -1:], again, again, None)
        torch.testing.assert_close(attended[:, -1:], wanted)
    assert module.watch.sizes is None


@pytest.mark.parametrize("value", ["0", "-1", "1.01", "nan", "half", ""])
def test_shares_that_cannot_be(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAM_KEEP_TOKENS", value)
    with pytest.raises(UsageError, match=f"COTAM_KEEP_TOKENS is '?{value}"):
        load_settings()


def test_a_model_that_cannot_says_so(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shared.nets.vision.TOWERS", ())
    engine = Engine([bundle], "", "cpu", 1, keep=0.5)
    assert "COTAM_KEEP_TOKENS is 0.5, and tiny reads all tokens" in caplog.text
    engine.warm_up()
