"""The loop that all trainers share, on a network of a few numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.errors import UsageError
from training.loop.runner import (
    WARM_UP_STEPS,
    Runner,
    RunOptions,
    load_checkpoint,
    rank,
    schedule,
)

ROOT = Path(__file__).parents[2]


def options(out: Path, **changes: Any) -> RunOptions:
    plain: dict[str, Any] = {
        "minutes": 60.0,
        "data": out,
        "out": out,
        "resume": False,
        "start": None,
        "device": "cpu",
        "threads": 1,
        "seed": 0,
    }
    return RunOptions(**{**plain, **changes})


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


class Steps:
    """Losses of a fixed problem; a signal interrupts the run in its last step."""

    def __init__(self, last: int, which: signal.Signals = signal.SIGTERM) -> None:
        self.last, self.which, self.seen = last, which, []

    def __call__(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        self.seen.append(step)
        if step == self.last:
            signal.raise_signal(self.which)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"loss": (network(x) - x[:, :2]).square().mean()}


def no_scores(_: nn.Module) -> dict[str, float]:
    return {}


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_checkpoint(tmp_path: Path, which: signal.Signals) -> None:
    before = signal.getsignal(which)
    runner = Runner(options(tmp_path), model(), 1e-2)
    runner.run(Steps(4, which), no_scores, {"size": 3})
    assert signal.getsignal(which) is before
    state = load_checkpoint(tmp_path)
    assert state["step"] == 5
    assert state["info"] == {"size": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_an_interrupted_run_ends_where_a_whole_one_does(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    Runner(options(whole), model(), 1e-2).run(Steps(9), no_scores, {})
    Runner(options(parts), model(), 1e-2).run(Steps(4), no_scores, {})
    steps = Steps(9)
    Runner(options(parts, resume=True), nn.Linear(3, 2), 1e-2).run(steps, no_scores, {})
    assert steps.seen == [5, 6, 7, 8, 9]
    uninterrupted, resumed = load_checkpoint(whole), load_checkpoint(parts)
    for kind in ("model", "average"):
        for name, value in uninterrupted[kind].items():
            assert torch.allclose(value, resumed[kind][name], atol=1e-6)
    assert resumed["elapsed"] > 0


TOGETHER = """
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tests.training.test_training_runner import Halves, Own, no_scores
from training.loop.runner import Runner, RunOptions, rank

out = Path(sys.argv[1])
options = RunOptions.of(
    Namespace(
        minutes=60, data=out, out=out, resume=False, start=None, device="cpu", threads=1, seed=0
    )
)
assert options.seed == rank()
torch.manual_seed(rank())
runner = Runner(options, nn.Linear(3, 2), 1e-2)
assert runner.next_scene(7, 4) == 7 + 1_000_000 * rank()
runner.run(Halves(5, rank()), no_scores, {})

network = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
for layer in network:
    nn.init.ones_(layer.weight)
own = Runner(replace(options, out=out / "own"), network, 1e-2)
own.run(Own(2 if rank() == 0 else -1), no_scores, {})
"""


class Halves(Steps):
    """Its process's half of the pictures of `Steps`; the second process never hears the signal."""

    def __init__(self, last: int, rank: int) -> None:
        super().__init__(last if rank == 0 else -1)
        self.half = slice(4 * rank, 4 * rank + 4)

    def __call__(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        super().__call__(network, step)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))[self.half]
        return {"loss": (network(x) - x[:, :2]).square().mean()}


class Own(Steps):
    """A loss of weights that the other process does not use."""

    def __call__(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        if step == self.last:
            signal.raise_signal(self.which)
        return {"loss": dict(network.named_parameters())[f"{rank()}.weight"].square().sum()}


def test_two_processes_train_as_one_on_the_pictures_of_both(tmp_path: Path) -> None:
    script, out = tmp_path / "together.py", tmp_path / "run"
    script.write_text(TOGETHER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, str(script), str(out)]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)})
    state = load_checkpoint(out)
    assert state["step"] == 6
    # The first process's weights are where both begin; the seed of the first is that of `options`.
    torch.manual_seed(0)
    alone = Runner(options(tmp_path / "alone"), nn.Linear(3, 2), 1e-2)
    alone.run(Steps(5), no_scores, {})
    for name, value in load_checkpoint(tmp_path / "alone")["model"].items():
        assert torch.allclose(state["model"][name], value, atol=1e-6)
    weights = load_checkpoint(out / "own")["model"]
    assert float(weights["0.weight"]) == float(weights["1.weight"]) < 1.0


def test_a_run_starts_with_what_fits_of_another(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    Runner(options(first), model(), 1e-2).run(Steps(4), no_scores, {})
    before = load_checkpoint(first)
    wider = nn.Linear(4, 2)
    weight = wider.weight.detach().clone()
    Runner(options(second, start=first), wider, 1e-2)
    assert torch.equal(wider.weight, weight)
    assert torch.equal(wider.bias, before["average"]["bias"])
    network = nn.Linear(3, 2)
    runner = Runner(options(second, start=first), network, 1e-2)
    assert torch.equal(network.weight, before["average"]["weight"])
    runner.run(Steps(1), no_scores, {})
    after = load_checkpoint(second)
    assert after["step"] == 2
    assert after["earlier"] == {"step": 5, "elapsed": before["elapsed"]}


def test_a_start_that_gives_nothing_is_refused(tmp_path: Path) -> None:
    Runner(options(tmp_path / "first"), model(), 1e-2).run(Steps(1), no_scores, {})
    with pytest.raises(UsageError, match="fits this model"):
        Runner(options(tmp_path / "second", start=tmp_path / "first"), nn.Linear(5, 4), 1e-2)
    assert not (tmp_path / "second").exists()


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    network = model()
    runner = Runner(options(tmp_path, minutes=1e-9), network, 1e-1)
    validated: list[dict[str, Tensor]] = []

    def validate(average: nn.Module) -> dict[str, float]:
        assert not average.training
        validated.append({n: p.detach().clone() for n, p in average.named_parameters()})
        return {"score": 0.5}

    runner.run(Steps(-1), validate, {})
    (average,) = validated
    state = load_checkpoint(tmp_path)
    for name, value in average.items():
        assert torch.equal(value, state["average"][name])
        assert not torch.equal(value, state["model"][name])
        assert torch.equal(dict(network.named_parameters())[name], state["model"][name])
    (line,) = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {"step", "minutes", "loss", "score"}


def test_what_is_frozen_does_not_move(tmp_path: Path) -> None:
    network = model()
    network.bias.requires_grad_(False)
    bias = network.bias.clone()
    Runner(options(tmp_path), network, 1e-1).run(Steps(3), no_scores, {})
    assert torch.equal(network.bias, bias)
    assert torch.equal(load_checkpoint(tmp_path)["average"]["bias"], bias)


def test_a_failure_still_leaves_a_checkpoint(tmp_path: Path) -> None:
    def loss(network: nn.Module, step: int) -> dict[str, Tensor]:
        if step == 2:
            raise RuntimeError("the disk with the photographs is gone")
        return {"loss": network.weight.sum()}

    with pytest.raises(RuntimeError, match="photographs"):
        Runner(options(tmp_path), model(), 1e-2).run(loss, no_scores, {})
    assert load_checkpoint(tmp_path)["step"] == 2


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    torch.save({"step": nn.Linear(1, 1)}, tmp_path / "checkpoint.pt")
    with pytest.raises(Exception, match="Weights only"):
        load_checkpoint(tmp_path)


def test_the_schedule_warms_up_stays_and_falls() -> None:
    assert schedule(0.0, 0) == pytest.approx(1 / WARM_UP_STEPS)
    assert schedule(0.2, WARM_UP_STEPS) == schedule(0.5, WARM_UP_STEPS) == 1.0
    late = [schedule(progress / 20, 10_000) for progress in range(10, 21)]
    assert late == sorted(late, reverse=True)
    assert late[-1] == pytest.approx(0.01)
    assert schedule(1.5, 10_000) == late[-1]
