"""Every trainer trains, resumes and loads; what they made becomes a bundle that both ends use."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from skimage import data

from cloud_server.inference.decoder import Decoder
from edge_client.coding.encoder import Encoder
from shared.bundle import ADAPTER, MLLM, Bundle, embedded
from shared.entropy_model import EntropyModel
from tests.training.conftest import INSTANT, Runs, Train
from training.bundle.codec import entropy_arrays
from training.codec.trainer import load_codec
from training.loop.runner import load_checkpoint, write_checkpoint
from training.small_models.clip import load_clip
from training.small_models.llava import load_llava
from training.tower.qualities import balance, random_qualities
from training.tower.runs import load_adapter_run

PARTS = ("codec", "clip", "llava", "adapter")
TRAINERS = (*PARTS, "joint", "entropy")


@pytest.mark.parametrize("name", TRAINERS)
def test_a_run_ends_with_a_checkpoint_and_a_line_of_its_curve(runs: Runs, name: str) -> None:
    folder: Path = getattr(runs, name)
    state = load_checkpoint(folder)
    (line,) = (folder / "curve.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert report["step"] == state["step"] >= 1
    assert state["elapsed"] >= 60 * INSTANT
    assert all(np.isfinite(value) for value in report.values())
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "curve.jsonl"]


def test_runs_load_as_trained_networks(runs: Runs) -> None:
    networks = (
        load_codec(runs.codec),
        load_clip(runs.clip),
        load_llava(runs.llava, runs.clip),
        load_adapter_run(runs.adapter),
        load_codec(runs.joint),
        load_codec(runs.entropy),
        load_adapter_run(runs.joint),
    )
    for network in networks:
        assert not network.training
        assert all(value.isfinite().all() for value in network.state_dict().values())


def test_the_tower_stays_as_the_clip_run_left_it(runs: Runs) -> None:
    trained = load_clip(runs.clip).clip.visual.conv1.weight
    tower = load_llava(runs.llava, runs.clip).model.vision_tower
    assert torch.equal(tower.embeddings.patch_embedding.weight, trained)


def test_captions_train_alone_on_a_frozen_tower(runs: Runs, train: Train, tmp_path: Path) -> None:
    train("clip", tmp_path, start=runs.clip, **{"frozen-tower": True}, batch=2)
    before, after = (load_clip(run).clip.state_dict() for run in (runs.clip, tmp_path))
    same = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("visual.")} - {"visual.proj"}
    assert frozen <= same
    assert {"visual.proj", "token_embedding.weight", "logit_scale"}.isdisjoint(same)


def test_the_first_blocks_stay_and_what_goes_on_aims_at_the_rest(
    runs: Runs, train: Train, tmp_path: Path
) -> None:
    options = {"frozen-blocks": 3, "worlds": 2}
    train("clip", tmp_path, start=runs.clip, **options, batch=4)
    before, after = (load_clip(run).clip.visual.state_dict() for run in (runs.clip, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    blocks = {name.split(".")[2] for name in changed if "resblocks" in name}
    assert blocks == {"3", "4", "5"}
    assert changed.isdisjoint({"conv1.weight", "positional_embedding", "class_embedding"})

    parts = {"codec": runs.codec, "clip": tmp_path, "adapter": runs.adapter}
    train("joint", tmp_path / "joint", start=runs.joint, batch=2, **parts)
    aim = load_checkpoint(tmp_path / "joint")["average"]["tower.encoder.layers.5.mlp.fc2.bias"]
    assert torch.equal(aim, after["transformer.resblocks.5.mlp.c_proj.bias"])


def test_losses_of_an_adapter_count_alike_at_all_qualities() -> None:
    base, _ = random_qualities(100_000, torch.Generator().manual_seed(0))
    weights = balance(base)
    assert float(weights.mean()) == pytest.approx(1.0, rel=0.01)
    assert float(balance(torch.tensor(80)) / balance(torch.tensor(5))) == pytest.approx(math.e)


def test_towers_that_do_not_fit_are_refused_in_one_line(
    runs: Runs, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train("clip", tmp_path / "more", **{"frozen-blocks": 7}, batch=2)
    older = load_checkpoint(runs.clip)
    del older["average"]["heads.density.0.weight"]
    (tmp_path / "older").mkdir()
    write_checkpoint(tmp_path / "older", older)
    with pytest.raises(SystemExit):
        train("llava", tmp_path / "llava", clip=tmp_path / "older", batch=2)
    errors = capsys.readouterr().err
    assert "--frozen-blocks is 7 (the tower has 6 blocks)" in errors
    assert "holds towers with other heads than this version trains" in errors


def test_a_codec_of_another_form_is_refused_in_one_line(
    runs: Runs, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = load_checkpoint(runs.codec)
    del older["average"]["entropy.hidden.3.weight"]
    (tmp_path / "older").mkdir()
    write_checkpoint(tmp_path / "older", older)
    with pytest.raises(SystemExit):
        train("entropy", tmp_path / "entropy", codec=tmp_path / "older", batch=2)
    assert "holds a codec of another form than this version trains" in capsys.readouterr().err


def test_codec_and_adapter_train_together_and_the_tower_does_not(runs: Runs) -> None:
    state = load_checkpoint(runs.joint)
    before = load_checkpoint(runs.codec)["average"], load_checkpoint(runs.adapter)["average"]
    now = load_codec(runs.joint).state_dict(), load_adapter_run(runs.joint).state_dict()
    assert not torch.equal(now[0]["analysis.linear.weight"], before[0]["analysis.linear.weight"])
    assert not torch.equal(now[1]["leave.weight"], before[1]["leave.weight"])
    frozen = load_clip(runs.clip).clip.visual.conv1.weight
    assert torch.equal(state["average"]["tower.embeddings.patch_embedding.weight"], frozen)


def test_the_entropy_network_trains_and_the_transforms_do_not(runs: Runs) -> None:
    before, after = (load_codec(run).state_dict() for run in (runs.codec, runs.entropy))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {
        *("entropy", "hyper_analysis", "hyper_log_gain", "hyper_scale")
    }
    earlier = load_checkpoint(runs.entropy)["info"]["before"]["codec"]
    assert earlier["step"] == load_checkpoint(runs.codec)["step"]


def test_a_synthesis_trains_alone_and_streams_stay(
    runs: Runs, train: Train, tmp_path: Path
) -> None:
    train("codec", tmp_path, start=runs.entropy, synthesis=True, batch=2, crop=64)
    before, after = (load_codec(run).state_dict() for run in (runs.entropy, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"synthesis"}
    spent = (load_checkpoint(run)["step"] for run in (runs.codec, runs.entropy))
    assert load_checkpoint(tmp_path)["earlier"]["step"] == sum(spent)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_resumed_run_goes_on(runs: Runs, train: Train, tmp_path: Path, name: str) -> None:
    before = load_checkpoint(getattr(runs, name))
    (tmp_path / "checkpoint.pt").write_bytes((getattr(runs, name) / "checkpoint.pt").read_bytes())
    frozen = {
        "llava": ("clip",),
        "joint": ("codec", "clip", "adapter"),
        "entropy": ("codec",),
    }
    needed = frozen.get(name, ())
    options = {other: getattr(runs, other) for other in needed}
    command = name
    if name == "adapter":
        command, options = "tower", {"mllm": runs.bare / MLLM, "bundle": runs.bare}
    more = before["elapsed"] / 60 + INSTANT
    train(command, tmp_path, minutes=more, resume=True, batch=2, **options)
    after = load_checkpoint(tmp_path)
    assert after["step"] > before["step"]
    assert after["elapsed"] >= 60 * more
    assert after["info"] == before["info"]
    states = [s for optimizer in after["optimizers"] for s in optimizer["state"].values()]
    steps = [state["step"] for state in states if "step" in state]
    assert set(map(int, steps)) == {after["step"]}


def test_a_bundle_becomes_runs_again(
    runs: Runs, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Integers come back as they were, floats as float16 holds them; the next run starts there."""
    train("restore", tmp_path, bundle=runs.bundle)
    codec, trained = load_codec(tmp_path / "codec"), load_codec(runs.codec)
    restored, expected = entropy_arrays(codec), entropy_arrays(trained)
    for name in expected:
        assert np.allclose(restored[name], expected[name], rtol=1e-5), name
        if expected[name].dtype.kind != "f":
            assert np.array_equal(restored[name], expected[name]), name
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(codec.analysis(picture), trained.analysis(picture), atol=1e-3)
    pairs = (
        (load_llava(tmp_path / "llava", tmp_path / "clip"), load_llava(runs.llava, runs.clip)),
        (load_adapter_run(tmp_path / "adapter"), load_adapter_run(runs.adapter)),
        (load_clip(tmp_path / "clip").clip, load_clip(runs.clip).clip),
    )
    for restored_model, original in pairs:
        for a, b in zip(
            restored_model.state_dict().values(), original.state_dict().values(), strict=True
        ):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)
    with pytest.raises(SystemExit):
        train("codec", tmp_path / "codec", resume=True)
    with pytest.raises(SystemExit):
        train("restore", tmp_path, bundle=runs.bundle)
    errors = capsys.readouterr().err
    assert "holds weights alone (begin a run with --start)" in errors
    assert "File exists" in errors
    train("codec", tmp_path / "next", start=tmp_path / "codec", batch=2, crop=64)
    own = {"mllm": runs.bundle / MLLM, "bundle": runs.bundle}
    train("tower", tmp_path / "more", start=tmp_path / "adapter", **own)
    configs = [load_checkpoint(run)["info"]["adapter"] for run in (runs.adapter, tmp_path / "more")]
    assert configs[0] == configs[1]
    for run, more in ((runs.codec, "next"), (runs.adapter, "more")):
        earlier = load_checkpoint(tmp_path / more)["earlier"]
        assert earlier["step"] == load_checkpoint(run)["step"]


def test_a_bundle_without_a_language_model_becomes_two_runs(train: Train, tmp_path: Path) -> None:
    train("restore", tmp_path, bundle="tiny-joint")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "codec"]
    before = EntropyModel.load(embedded("tiny-joint").path("entropy.npz"))
    after = EntropyModel(entropy_arrays(load_codec(tmp_path / "codec")))
    latent = np.random.default_rng(0).normal(0, 60, (before.latent_channels, 6, 6))
    codes = np.full((6, 6), 60, np.int32)
    coded = before.encode(latent.astype(np.float32), codes, 60)
    restored, expected = (m.read(coded.payload, coded.check, codes, 60) for m in (after, before))
    for name in ("hyper", "values", "means"):
        assert np.array_equal(getattr(restored, name), getattr(expected, name)), name


def test_resuming_needs_a_checkpoint(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        train("codec", tmp_path / "nothing", resume=True)
    assert ended.value.code == 2
    assert "leave out --resume" in capsys.readouterr().err


def test_what_was_trained_becomes_a_bundle_that_both_ends_use(runs: Runs) -> None:
    bundle = Bundle.open(runs.bundle)
    assert bundle.manifest.name == "test"
    assert set(bundle.manifest.provenance) == {"hardware", *PARTS}
    assert set(bundle.manifest.provenance["adapter"]) == {"steps", "minutes"}
    # Of a bundle's own tower the adapter alone is new.
    bare = Bundle.open(runs.bare).manifest
    more = bundle.manifest.files.items() ^ bare.files.items()
    assert {name for name, _ in more} == {ADAPTER}
    same = {"files": {}, "provenance": {}}
    assert bundle.manifest.model_copy(update=same) == bare.model_copy(update=same)
    for name in ("guidance.onnx", "encoder.onnx", "entropy.npz"):
        assert name in bundle.files("edge")
    with safe_open(bundle.path(MLLM) / "model.safetensors", "pt") as weights:
        towers = [name for name in weights.keys() if name.startswith("vision_tower.")]  # noqa: SIM118
    assert towers
    assert all(name.startswith("vision_tower.vision_model.") for name in towers), "as vLLM asks"
    assert [path.name for path in runs.bundle.parent.glob(".*")] == []
    picture = data.chelsea()[:96, :112]
    stream = Encoder(bundle, threads=1).analyse(picture).code(quality=6.0)
    decoded = Decoder(bundle, torch.device("cpu")).decode(stream).picture
    # The transform starts as a DCT, so even an untrained codec shows the picture.
    error = np.mean((decoded.astype(float) - picture) ** 2)
    assert 10 * np.log10(255**2 / error) > 25


def test_a_codec_alone_goes_into_a_bundle(runs: Runs, train: Train, tmp_path: Path) -> None:
    """All stays that has nothing to do with it; the adapter, made for the codec before, goes."""
    out = tmp_path / "bundle"
    train("export", out, codec=runs.entropy, bundle=runs.bundle, name="test")
    made, base = Bundle.open(out), Bundle.open(runs.bundle)
    assert not made.has(ADAPTER)
    changed = {name for name, _ in made.manifest.files.items() ^ base.manifest.files.items()}
    assert changed == {ADAPTER, "entropy.npz"}, "its transforms had stayed"
    assert made.codec_id != base.codec_id
    assert made.manifest.codec.former_ids == ()
    wanted = entropy_arrays(load_codec(runs.entropy))
    with np.load(made.path("entropy.npz")) as arrays:
        for name, array in wanted.items():
            assert np.array_equal(arrays[name], array), name
    # An adapter for it is trained and exported as any other.
    run = tmp_path / "run"
    train("tower", run, mllm=out / MLLM, bundle=out, start=runs.adapter)
    train("export", tmp_path / "whole", tower=run, bundle=out, name="test")
    assert Bundle.open(tmp_path / "whole").codec_id == made.codec_id
