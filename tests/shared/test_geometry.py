"""Where the tokens of six classes look, against what their processors do to a spot of light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from evaluation.towers.random_models import CLASSES, PATCH, write_model
from shared.bundle import MLLM, Bundle
from shared.nets.adapter import AdapterConfig, LatentAdapter, place
from shared.nets.geometry import Geometry
from shared.nets.model_files import load_vision
from shared.nets.vision import Vision

SIZES = ((56, 56), (100, 70), (48, 130), (200, 300), (31, 40))
Load = Callable[[str], Vision]


@pytest.fixture(scope="module")
def load(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Load:
    known: dict[str, Vision] = {}
    root = tmp_path_factory.mktemp("models")

    def vision(kind: str) -> Vision:
        if kind not in known:
            folder = write_model(kind, bundle.path(MLLM), root / kind)
            known[kind] = load_vision(str(folder), torch.device("cpu"), torch.float32)
        return known[kind]

    return vision


@pytest.mark.parametrize("kind", CLASSES)
def test_tokens_look_where_the_processor_shows_them(kind: str, load: Load) -> None:
    """A wide, soft spot: its middle, weighted by what each patch shows, is where it was drawn."""
    vision = load(kind)
    compared = 0
    for height, width in SIZES:
        geometry = vision.geometry(height, width)
        black = vision.patches(vision.inputs(np.zeros((height, width, 3), np.uint8)))
        for x, y in ((0.5, 0.5), (0.4, 0.6)):
            bright = vision.patches(vision.inputs(_spot(height, width, x, y)))
            light = (bright.pixels - black.pixels).mean(dim=2).double()  # [V, T, p, p]
            places = geometry.ordered(_pixels(geometry)).double()  # [V, T, p, p, 2]
            for where, weight, step in zip(places, light, geometry.step, strict=True):
                shown = (where - torch.tensor([x, y])).abs().amax(dim=-1) < 0.25
                if not weight.amax() > 0.5 or _is_cut(where, x, y):
                    continue
                weight = weight.clamp(min=0) * shown
                middle = (where * weight.unsqueeze(-1)).sum((0, 1, 2)) / weight.sum()
                pixels = (middle - torch.tensor([x, y])).abs() / step * PATCH
                assert float(pixels.max()) < 0.5, (height, width, x, y)
                compared += 1
    assert compared >= len(SIZES)


@pytest.mark.parametrize("kind", CLASSES)
def test_padding_is_not_covered(kind: str, load: Load) -> None:
    vision = load(kind)
    for height, width in SIZES:
        geometry = vision.geometry(height, width)
        white = np.full((height, width, 3), 255, np.uint8)
        shown = vision.patches(vision.inputs(white)).pixels
        empty = vision.patches(vision.inputs(np.zeros_like(white))).pixels
        differs = ((shown - empty).abs() > 1e-3).flatten(2).any(dim=2).float()
        covered = geometry.ordered(geometry.covered.flatten(1, 2).unsqueeze(2)).squeeze(2)
        # A patch of which a fiftieth shows picture may be counted either way.
        assert float((covered - differs).abs().mean()) < 0.1
        assert bool((differs >= covered).all())


@pytest.mark.parametrize(("kind", "seen"), [("clip", 0.375), ("siglip", 1.0), ("next", 1.0)])
def test_the_share_that_is_seen(kind: str, seen: float, load: Load) -> None:
    assert load(kind).geometry(48, 130).seen == pytest.approx(seen, abs=0.02)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_latent_is_sampled_where_the_tokens_look(kind: str, load: Load) -> None:
    """A latent that holds its own place comes back as the places of the tokens, to a tenth."""
    vision = load(kind)
    for height, width in ((56, 56), (96, 160), (192, 256)):
        geometry = vision.geometry(height, width)
        rows, columns = -(-height // 16), -(-width // 16)
        down, across = np.mgrid[0:rows, 0:columns].astype(np.float32) + 0.5
        latent = torch.from_numpy(np.stack([across * 16 / width, down * 16 / height]))
        sampled, codes = geometry.sample(
            latent.unsqueeze(0), torch.full((1, rows, columns), 60), width, height
        )
        assert torch.allclose(codes, torch.full_like(codes, 60))
        inner = geometry.covered.bool() & _inside(geometry, height, width)
        steps = (sampled.movedim(1, -1) - geometry.centres) / geometry.step.view(-1, 1, 1, 2)
        assert float(steps[inner].abs().amax()) < 0.1


@pytest.mark.parametrize("kind", CLASSES)
def test_an_adapter_fits_the_embeddings_and_starts_at_zero(kind: str, load: Load) -> None:
    vision = load(kind)
    spec = vision.spec()
    config = AdapterConfig(
        8, spec.width, spec.grid or 4, spec.heads, leading=spec.leading, scale=0.5
    )
    adapter = LatentAdapter(config)
    picture = np.random.default_rng(0).integers(0, 256, (100, 70, 3), dtype=np.uint8)
    inputs = [vision.inputs(picture)]
    latent, codes = torch.randn(1, 8, 7, 5), torch.full((1, 7, 5), 60)
    tokens = vision.adapt(adapter, latent, codes, 100, 70)
    plain, reads = vision.levels(inputs)
    low, high = vision.levels(inputs, tokens)
    assert tokens.shape == plain.shape
    assert torch.equal(low, plain)
    assert torch.equal(high, reads)
    with torch.no_grad():
        adapter.leave.weight.normal_()
    moved, read = vision.levels(inputs, vision.adapt(adapter, latent, codes, 100, 70))
    assert not torch.equal(moved, plain)
    assert not torch.equal(read, reads)
    assert not vision.embeddings._forward_hooks


@pytest.mark.parametrize("kind", CLASSES)
def test_what_the_projector_reads_makes_the_features(kind: str, load: Load) -> None:
    vision = load(kind)
    inputs = [vision.inputs(np.full((56, 56, 3), 90, np.uint8))]
    _, high = vision.levels(inputs)
    made = vision.projector(high).reshape(-1, vision.features(inputs)[0].shape[1])
    known = {tuple(row.round(decimals=3).tolist()) for row in vision.features(inputs)[0]}
    shared = [tuple(row.round(decimals=3).tolist()) in known for row in made]
    assert np.mean(shared) > 0.5  # tiles of padding and the ends of rows are not among both


def test_the_corner_layout_is_the_square_of_scenes(bundle: Bundle) -> None:
    vision = load_vision(str(bundle.path(MLLM)), torch.device("cpu"), torch.float32)
    vision.layout = bundle.manifest.tower.layout
    for height, width in ((256, 256), (170, 256), (256, 100), (40, 60)):
        geometry = vision.geometry(height, width)
        at = place(width, height, 256)
        rows, columns = -(-at.height // 16), -(-at.width // 16)
        assert float(geometry.covered.sum()) == rows * columns
        assert bool(geometry.covered[0, :rows, :columns].all())
        middle = (torch.arange(columns) + 0.5) * 16 / at.width
        assert torch.allclose(
            geometry.centres[0, 0, :columns, 0], middle, atol=0.02 * 16 / at.width
        )


def test_towers_describe_themselves(bundle: Bundle) -> None:
    vision = load_vision(str(bundle.path(MLLM)), torch.device("cpu"), torch.float32)
    vision.layout = "corner"
    wanted = bundle.manifest.tower
    assert vision.spec() == wanted
    assert vision.resolution() == bundle.manifest.resolution == 256
    assert AutoProcessor.from_pretrained(bundle.path(MLLM)).image_token == "<image>"


def _spot(height: int, width: int, x: float, y: float) -> np.ndarray:
    down, across = np.mgrid[0:height, 0:width]
    distance = ((across + 0.5) / width - x) ** 2 + ((down + 0.5) / height - y) ** 2
    return np.repeat((255 * np.exp(-distance / 0.008))[..., None], 3, axis=2).astype(np.uint8)


def _pixels(geometry: Geometry) -> torch.Tensor:
    """Where each pixel of each patch looks, [V, T, p, p, 2]."""
    inside = (torch.arange(PATCH) + 0.5) / PATCH - 0.5
    offsets = torch.stack(torch.meshgrid(inside, inside, indexing="xy"), dim=-1)
    steps = geometry.step.view(-1, 1, 1, 1, 2)
    return geometry.centres.flatten(1, 2)[:, :, None, None] + steps * offsets


def _is_cut(where: torch.Tensor, x: float, y: float) -> bool:
    """Whether a view shows a part of the spot alone."""
    low, high = where.flatten(0, 2).amin(dim=0), where.flatten(0, 2).amax(dim=0)
    middle = torch.tensor([x, y])
    return bool(((middle - low < 0.25) | (high - middle < 0.25)).any())


def _inside(geometry: Geometry, height: int, width: int) -> torch.Tensor:
    """Tokens between the middles of the outermost latents, beyond which there is nothing."""
    latents = torch.tensor([16 / width, 16 / height])
    margin = torch.maximum(latents, geometry.step).view(-1, 1, 1, 2)
    return ((geometry.centres > margin) & (geometry.centres < 1 - margin)).all(dim=-1)
