"""An adapter for anybody's model: trained on photographs, exported, served, asked."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cloud_server.inference.engine import Engine
from cloud_server.inference.work import Work
from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import fit
from evaluation.towers.random_models import write_model
from shared import bundle as bundles
from shared.bundle import ADAPTER, GUIDANCE, MLLM, Bundle
from shared.errors import UsageError
from shared.nets.adapter import load_adapter
from shared.nets.guidance import Guidance, TowerGuidance
from shared.nets.model_files import load_vision
from training.bundle.graphs import check_graphs
from training.bundle.tower import KEPT
from training.loop.runner import load_checkpoint
from training.loop.square import DEVIATION, MEAN
from training.tower import memory, trainer
from training.tower.photographs import Photographs
from training.tower.runs import load_tower_run, saw_the_picture
from training.tower.trainer import TowerTraining, echoed, heads_of

Train = Callable[..., None]
KINDS = ("clip", "internvl", "qwen")  # with [CLS], by tiles, of any shape


@pytest.fixture(scope="module")
def models(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    def folder(kind: str) -> Path:
        place = root / kind
        return place if place.exists() else write_model(kind, bundle.path(MLLM), place)

    return folder


@pytest.fixture(scope="module")
def tower_run(
    train: Train, models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("towers")

    def run(kind: str) -> Path:
        if not (root / kind).exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trainer, "VALIDATION_PICTURES", 1)
                train("tower", root / kind, mllm=models(kind), resolution=96, batch=2)
        return root / kind

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_from_photographs_to_an_answer(
    kind: str,
    tower_run: Callable[[str], Path],
    models: Callable[[str], Path],
    train: Train,
    bundle: Bundle,
    tmp_path: Path,
) -> None:
    out = tmp_path / "mine"
    train("export", out, tower=tower_run(kind), bundle="tiny", name="mine")
    made = Bundle.open(out)
    assert (made.manifest.name, made.manifest.resolution) == ("mine", 96)
    assert made.codec_id == bundle.codec_id
    for name in KEPT:
        assert made.path(name).read_bytes() == bundle.path(name).read_bytes()
    vision = load_vision(str(models(kind)), torch.device("cpu"), torch.float32)
    assert made.manifest.tower == vision.spec()

    photo = np.asarray(Image.open(Path("examples") / "street.png").convert("RGB"))[:, :200]
    picture = fit(photo, "model", made.manifest.resolution)
    assert max(picture.shape) == 96
    coded = Encoder(made, threads=1).analyse(picture)
    stream = coded.code(3.0)
    engine = Engine([made], str(models(kind)), "cpu", 1)
    assert engine.backend.resolution == 96
    work = Work(stream, "how many cars?", 3)
    engine.run([work])
    assert work.error is None
    assert work.answer
    assert work.visual
    assert work.visual.view == "adapter"


def test_a_run_goes_on_where_it_stopped(
    train: Train, models: Callable[[str], Path], tower_run: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(tower_run("clip"), tmp_path / "run")
    before = load_checkpoint(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "VALIDATION_PICTURES", 1)
        train(
            "tower",
            tmp_path / "run",
            minutes=before["elapsed"] / 60 + 0.005,
            mllm=models("clip"),
            resolution=96,
            batch=1,
            resume=True,
        )
    after = load_checkpoint(tmp_path / "run")
    assert after["step"] > before["step"]
    adapter, info = load_tower_run(tmp_path / "run")
    assert (adapter.config.width, adapter.config.leading) == (32, 1)
    assert adapter.config.scale > 0
    assert info["tower"]["layer"] == -2


def test_training_lowers_what_the_model_reads(
    bundle: Bundle, models: Callable[[str], Path], photographs: Path
) -> None:
    """On one coded picture, which a few dozen steps can learn by heart."""
    torch.manual_seed(0)
    vision = load_vision(str(models("next")), torch.device("cpu"), torch.float32)
    training = TowerTraining(bundle, vision)
    chance = np.random.default_rng(0)
    pictures = Photographs(photographs, "train").crops(1, 80, 112, chance)
    coded = training.code(pictures, torch.tensor([10]), torch.tensor([20]), chance)
    spec = vision.spec()
    assert spec.grid
    adapter = trainer.LatentAdapter(
        trainer.AdapterConfig(
            192, spec.width, spec.grid, 4, leading=1, scale=training.embedding_scale(pictures)
        )
    )

    def measured(which: trainer.LatentAdapter | None) -> dict[str, float]:
        with torch.no_grad():
            return {name: float(loss) for name, loss in training.losses(which, coded).items()}

    bare = measured(None)
    assert measured(adapter) == bare
    optimizer = torch.optim.Adam(adapter.parameters(), 3e-3)
    for _ in range(40):
        losses = training.losses(adapter, coded)
        optimizer.zero_grad()
        (0.1 * losses["low"] + losses["high"]).sum().backward()
        optimizer.step()
    after = measured(adapter)
    assert after["high"] < 0.9 * bare["high"]
    assert after["low"] < bare["low"]
    assert all(p.grad is None for p in vision.base.parameters())


def test_the_shipped_adapter_is_as_good_by_this_road(bundle: Bundle) -> None:
    """Its latents, its layout and its tower, sampled and compared as for anybody's."""
    vision = load_vision(str(bundle.path(MLLM)), torch.device("cpu"), torch.float32)
    vision.layout = bundle.manifest.tower.layout
    training, adapter = TowerTraining(bundle, vision), load_adapter(bundle.path(ADAPTER))
    street = np.asarray(Image.open(Path("examples") / "street.png").convert("RGB"))
    coded = training.code(
        [street], torch.tensor([20]), torch.tensor([30]), np.random.default_rng(0)
    )
    with torch.no_grad():
        adapted, bare = (float(training.losses(a, coded)["high"]) for a in (adapter, None))
    assert adapted < 0.6 * bare


def test_guidance_of_the_tower_of_scenes_is_that_of_open_clip(bundle: Bundle) -> None:
    """The same weights by two libraries give the same map."""
    from training.bundle.restore import restore_clip
    from training.small_models.clip import ClipWithHeads

    vision = load_vision(str(bundle.path(MLLM)), torch.device("cpu"), torch.float32)
    state, info = restore_clip(bundle, vision.tower)
    model = ClipWithHeads(info["config"])
    model.load_state_dict(state)
    picture = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = Guidance(model.clip.visual, MEAN, DEVIATION).eval()(picture)
        importance = TowerGuidance(vision).eval()(picture)
    torch.testing.assert_close(importance, wanted, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("kind", ["clip", "siglip", "internvl"])
def test_guidance_is_a_share_of_attention(kind: str, models: Callable[[str], Path]) -> None:
    vision = load_vision(str(models(kind)), torch.device("cpu"), torch.float32)
    importance = TowerGuidance(vision)(torch.rand(2, 3, 56, 56))
    assert importance.shape == (2, 4, 4)
    assert bool((importance > 0).all())
    assert bool((importance.sum(dim=(1, 2)) <= 1 + 1e-5).all())


def test_photographs_of_any_folder(
    photographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for number, photo in enumerate(sorted(photographs.iterdir())):
        shutil.copy(photo, (tmp_path if number % 2 else deep) / photo.name)
    (deep / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    (tmp_path / "tiny.png").write_bytes(_png(8, 8))
    (tmp_path / "notes.txt").write_text("no picture")
    train, val = Photographs(tmp_path, "train"), Photographs(tmp_path, "val")
    assert not {*train.files} & {*val.files}
    assert len(train.files) + len(val.files) == 6
    chance = np.random.default_rng(0)
    with caplog.at_level(logging.WARNING):
        crops = train.crops(60, *train.size(64, chance), chance)
    assert len({crop.shape for crop in crops}) == 1
    assert min(crops[0].shape[:2]) >= 32
    assert {path.name for path in train.skipped} <= {"broken.jpg", "tiny.png"}
    assert caplog.text.count("broken.jpg is left out") <= 1
    for bad in train.skipped:
        assert str(bad) in caplog.text
    assert max(max(p.shape) for p in val.first(9, 50)) <= 50


def test_folders_without_photographs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        Photographs(tmp_path / "nowhere", "train")
    with pytest.raises(FileNotFoundError, match="no photographs"):
        Photographs(tmp_path, "train")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"?")
    with pytest.raises(UsageError, match="can be read"):
        Photographs(tmp_path, "train").crops(1, 64, 64, np.random.default_rng(0))


def test_what_cannot_be_trained_is_one_line(
    train: Train,
    models: Callable[[str], Path],
    tower_run: Callable[[str], Path],
    bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusal(**options: Any) -> str:
        with pytest.raises(SystemExit):
            train("tower", tmp_path / "out", **options)
        lines = capsys.readouterr().err.strip().splitlines()
        assert "Traceback" not in "\n".join(lines)
        return lines[-1]

    assert "no vision tower to load" in refusal(mllm=tmp_path / "nothing")
    text = tmp_path / "text"
    text.mkdir()
    config = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2}
    (text / "config.json").write_text(json.dumps(config))
    assert "holds a llama, which has no vision tower" in refusal(mllm=text)
    assert "there is no bundle" in refusal(mllm=models("clip"), bundle=tmp_path / "none")
    wide = {"mllm": bundle.path(MLLM), "start": tower_run("clip")}
    assert "has width 32, and 192 is needed" in refusal(**wide)
    monkeypatch.setattr(memory, "_free", lambda device: 0.5)
    assert "takes at least" in refusal(mllm=models("clip"))


@pytest.mark.parametrize(("kind", "warnings"), [("clip", 1), ("siglip", 0)])
def test_a_processor_that_cuts_pictures_is_told_of(
    kind: str, warnings: int, models: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """CLIP's cuts a square out of the middle; SigLIP's shows all of any picture."""
    vision = load_vision(str(models(kind)), torch.device("cpu"), torch.float32)
    shapes = [(96, 96), (64, 256), (128, 96)]
    trainer.warn_of_crops(vision, [np.zeros((*shape, 3), np.uint8) for shape in shapes])
    messages = [record.getMessage() for record in caplog.records]
    assert ["it shows 25 %" in message for message in messages] == [True] * warnings


def test_a_run_of_another_codec_is_refused(
    train: Train,
    tower_run: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        train("export", tmp_path / "out", tower=tower_run("clip"), bundle="tiny-joint", name="x")
    assert "was trained for codec" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("guidance", {"side": 336, "patch": 14}, "takes [1, 3, 256, 256]"),
        ("guidance", {"patch": 32}, "gives [1, 16, 16]"),
        ("guidance", {"side": 250}, "patches of 16 on a square of 250"),
        ("codec", {"latent_channels": 128}, "gives"),
        ("tower", {"width": 64}, "the adapter has width 192"),
        ("tower", {"grid": 24}, "guidance looks at 256 pixels"),
    ],
)
def test_a_manifest_that_disagrees_with_its_files_is_refused(
    bundle: Bundle, tmp_path: Path, part: str, fields: dict[str, Any], message: str
) -> None:
    check_graphs(bundle)
    for name in (GUIDANCE, ADAPTER, *KEPT):
        shutil.copy(bundle.path(name), tmp_path)
    manifest = bundle.manifest.model_dump(mode="json")
    manifest[part].update(fields)
    (tmp_path / bundles.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError) as caught:
        check_graphs(Bundle.open(tmp_path))
    assert message in str(caught.value)


def test_heads_divide_the_width() -> None:
    assert [heads_of(width) for width in (32, 192, 1024, 1152, 1280)] == [1, 3, 16, 18, 20]


def test_an_adapter_says_how_it_is_built(
    tower_run: Callable[[str], Path], train: Train, tmp_path: Path
) -> None:
    train("export", tmp_path / "mine", tower=tower_run("clip"), bundle="tiny", name="mine")
    config = load_adapter(tmp_path / "mine" / ADAPTER).config
    assert (config.width, config.grid, config.leading) == (32, 4, 1)


def test_echoes_of_a_batch_lie_apart_and_none_is_lost() -> None:
    coded = []

    def batches() -> Iterator[int]:
        for number in range(100):
            coded.append(number)
            yield number

    steps = echoed(batches(), np.random.default_rng(0))
    assert (next(steps), coded) == (0, [0])  # the first step waits for one batch alone
    given = [0, *steps]
    counts = Counter(given)
    assert sum(count == trainer.ECHOES for count in counts.values()) > 80
    assert set(counts.values()) <= set(range(1, trainer.ECHOES + 1))
    together = sum(a == b for a, b in itertools.pairwise(given))
    assert together < len(given) / 4


def test_an_ablation_trains_without_what_it_leaves_out(
    train: Train, models: Callable[[str], Path], bundle: Bundle, photographs: Path, tmp_path: Path
) -> None:
    """Without the decoded picture the tower sees its mean colour, whatever was coded."""
    vision = load_vision(str(models("clip")), torch.device("cpu"), torch.float32)
    chance = np.random.default_rng(0)
    pictures = Photographs(photographs, "train").crops(2, 80, 112, chance)
    codes = torch.tensor([10, 60]), torch.tensor([20, 0])
    coded = TowerTraining(bundle, vision, prior=False).code(pictures, *codes, chance)
    first, second = (inputs["pixel_values"] for inputs in coded.decoded)
    assert torch.equal(first, second)
    assert float(first.abs().max()) < 0.02
    options = {"no-prior": True, "low": 0.0, "mllm": models("clip"), "resolution": 96}
    train("tower", tmp_path, **options)
    assert not saw_the_picture(tmp_path)


def _png(width: int, height: int) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "png")
    return file.getvalue()
