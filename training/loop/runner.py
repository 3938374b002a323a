"""The loop that all trainers share: a time budget, a curve, an average of weights, checkpoints.

A run lives in a folder: `checkpoint.pt` (everything that resuming needs; tensors and plain values
only), `curve.jsonl` (one line a report). The schedule follows the share of the minutes that is
spent, so the same command trains well in ten minutes or in ten hours, and `--resume` with more
minutes goes on where the last run stopped. `--start` begins a new run with the weights of another
one, as far as they fit.

Several processes train one model by averaging their gradients, each on pictures of its own:
`torchrun --standalone --nproc-per-node 2 -m -- training codec ... --threads 1`. On two cores that
is twice as fast as one process, where two threads were no faster than one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from shared.errors import UsageError
from shared.files import whole_file
from training.loop.muon import Muon

CHECKPOINT = "checkpoint.pt"
REPORT_SECONDS = 300.0
CHECKPOINT_SECONDS = 300.0
WARM_UP_STEPS = 200
WEIGHT_DECAY = 0.01
SCENES_OF_A_PROCESS = 1_000_000

Losses = dict[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class RunOptions:
    """What every trainer is told."""

    minutes: float
    data: Path
    out: Path
    resume: bool
    start: Path | None
    device: str
    threads: int
    seed: int

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> RunOptions:
        device = arguments.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dist.is_torchelastic_launched() and not dist.is_initialized():
            dist.init_process_group("gloo")
            if device == "cuda":  # a GPU for each process
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return cls(
            arguments.minutes,
            arguments.data,
            arguments.out,
            arguments.resume,
            arguments.start,
            device,
            arguments.threads,
            arguments.seed + rank(),
        )


def rank() -> int:
    """Which of the processes that train together this is; the first alone writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `RunOptions`."""
    parser.add_argument("--minutes", type=float, required=True, help="training time, resumed in")
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--start", type=Path, help="folder of a run whose weights to begin with")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)


def schedule(progress: float, step: int) -> float:
    """Share of the peak learning rate: short warm-up, level for half of the time, then cosine."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    fall = max(0.0, (min(progress, 1.0) - 0.5) / 0.5)
    return warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fall)))


class Runner(Generic[Model]):
    """Trains `model` for the minutes of its options.

    `loss_of_step(model, step)` returns losses by name, of which "loss" is minimised;
    `validate(average)` returns scores of the averaged weights for the curve. Gradients are clipped
    to norm 1. `progress` (0..1 of the minutes) may be read by either. AdamW changes the weights;
    with `muon` Muon the matrices among them.
    """

    def __init__(
        self,
        options: RunOptions,
        model: Model,
        rate: float,
        decay: float = 0.999,
        muon: bool = False,
    ) -> None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        self.earlier = {"step": 0, "elapsed": 0.0}
        if options.start is not None:
            self._start(model, options.start)
        self.options, self.model, self.peak = options, model.to(options.device), rate
        self.decay = decay
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.average = {n: p.detach().clone() for n, p in self.trained.items()}
        matrices = [p for p in self.trained.values() if p.ndim == 2]
        plain = [p for p in self.trained.values() if p.ndim != 2]
        groups = [{"params": plain, "weight_decay": 0.0}]
        self.optimizers: list[torch.optim.Optimizer] = []
        if muon:
            self.optimizers.append(Muon(matrices, rate, WEIGHT_DECAY))
        else:
            groups.append({"params": matrices, "weight_decay": WEIGHT_DECAY})
        self.optimizers.append(torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True))
        self.step, self.elapsed = 0, 0.0
        self._stop = False
        options.out.mkdir(parents=True, exist_ok=True)
        if options.resume:
            self._load()
        if dist.is_initialized():
            for weight in (*self.trained.values(), *self.average.values()):
                dist.broadcast(weight.data, 0)

    @property
    def progress(self) -> float:
        """Share of the minutes that is spent, 0..1."""
        return min(1.0, self.elapsed / (60.0 * self.options.minutes))

    @property
    def steps_ever(self) -> int:
        """Steps of this run and of those that it began with: none of them saw the next scene."""
        return int(self.earlier["step"]) + self.step

    def next_scene(self, first: int, batch: int) -> int:
        """Index of the next scene that nobody saw, of those that begin at `first`."""
        return first + rank() * SCENES_OF_A_PROCESS + self.steps_ever * batch

    def run(
        self,
        loss_of_step: Callable[[Model, int], Losses],
        validate: Callable[[Model], dict[str, float]],
        info: dict[str, Any],
    ) -> None:
        """Train until the minutes are spent or a signal comes; always ends with a checkpoint.

        `info` goes into the checkpoint: what is needed to build the model again.
        """
        previous = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        seconds = round(60 * self.options.minutes)
        bar = tqdm(total=seconds, unit="s", initial=round(self.elapsed), disable=rank() > 0)
        sums: dict[str, float] = {}
        counted, reported, saved = 0, time.monotonic(), time.monotonic()
        self.model.train()
        try:
            while self.progress < 1.0 and not self._stop:
                start = time.monotonic()
                losses = loss_of_step(self.model, self.step)
                self._update(losses["loss"])
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
                counted += 1
                now = time.monotonic()
                self.elapsed += now - start
                self._agree()
                bar.n = min(seconds, round(self.elapsed))
                if rank() == 0 and (now - reported > REPORT_SECONDS or self.progress >= 1.0):
                    means = {n: round(s / counted, 5) for n, s in sums.items()}
                    with self.averaged() as average:
                        means |= {n: round(v, 5) for n, v in validate(average).items()}
                    self._report(means, bar)
                    sums, counted, reported = {}, 0, time.monotonic()
                if now - saved > CHECKPOINT_SECONDS:
                    self.save(info)
                    saved = time.monotonic()
        finally:
            bar.close()
            self.save(info)
            for which, handler in previous.items():
                signal.signal(which, handler)

    @contextmanager
    def averaged(self) -> Iterator[Model]:
        """The model with its averaged weights, in evaluation mode."""
        kept = {n: p.detach().clone() for n, p in self.trained.items()}
        self._assign(self.average)
        self.model.eval()
        try:
            yield self.model
        finally:
            self._assign(kept)
            self.model.train()

    def save(self, info: dict[str, Any]) -> None:
        """Write the checkpoint, in the first process."""
        if rank() > 0:
            return
        with self.averaged() as average:
            weights = {n: t.detach().clone() for n, t in average.state_dict().items()}
        write_checkpoint(
            self.options.out,
            {
                "info": info,
                "average": weights,
                "model": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "elapsed": self.elapsed,
                "earlier": self.earlier,
            },
        )

    def _load(self) -> None:
        state = load_checkpoint(self.options.out)
        if "optimizers" not in state:
            raise UsageError(
                f"{self.options.out} holds weights alone", hint="begin a run with --start"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, before in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(before)
        for name, value in self.average.items():
            value.copy_(state["average"][name])
        self.step, self.elapsed = state["step"], state["elapsed"]
        self.earlier = state["earlier"]

    def _start(self, model: nn.Module, run: Path) -> None:
        """Take the averaged weights of another run, where name and shape are the same."""
        state = load_checkpoint(run)
        model_state = model.state_dict()
        fitting = {
            name: weight
            for name, weight in state["average"].items()
            if name in model_state and model_state[name].shape == weight.shape
        }
        if not fitting:
            raise UsageError(
                f"nothing in {run} fits this model", hint="--start takes a run of the same trainer"
            )
        model.load_state_dict(fitting, strict=False)
        for name, before in state["earlier"].items():
            self.earlier[name] = before + state[name]

    def _update(self, loss: Tensor) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.peak * schedule(self.progress, self.step)
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._share_gradients()
        nn.utils.clip_grad_norm_(list(self.trained.values()), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        # Short averages first, so that a run of minutes is not held back by its random start.
        decay = min(self.decay, (1.0 + self.step) / (10.0 + self.step))
        torch._foreach_lerp_(
            list(self.average.values()), [p.detach() for p in self.trained.values()], 1.0 - decay
        )
        self.step += 1

    def _share_gradients(self) -> None:
        """Average the gradients of all processes, where a weight that one did not use has zeros."""
        if not dist.is_initialized():
            return
        for weight in self.trained.values():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        shared = [weight.grad for weight in self.trained.values() if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in shared])
        dist.all_reduce(flat)
        parts = (flat / dist.get_world_size()).split([g.numel() for g in shared])
        for gradient, part in zip(shared, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _agree(self) -> None:
        """Take the first process's time, and stop where any process was told to."""
        if not dist.is_initialized():
            return
        said = torch.tensor([self.elapsed if rank() == 0 else 0.0, float(self._stop)])
        dist.all_reduce(said)
        self.elapsed, self._stop = float(said[0]), bool(said[1] > 0)

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.trained.items():
            parameter.copy_(values[name])

    def _report(self, means: dict[str, float], bar: tqdm[Any]) -> None:
        line = {"step": self.step, "minutes": round(self.elapsed / 60, 2), **means}
        if self.options.device == "cuda":
            line["gigabytes"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        with (self.options.out / "curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        bar.write(" ".join(f"{k}={v}" for k, v in line.items()), file=sys.stderr)

    def _interrupt(self, *_: object) -> None:
        self._stop = True


def write_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint of a run's folder, whole or not at all."""
    with whole_file(run / CHECKPOINT) as file:
        torch.save(state, file)


def load_checkpoint(run: Path) -> dict[str, Any]:
    """The checkpoint of a run's folder, on the CPU. Raises FileNotFoundError without one."""
    path = run / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: train first, or leave out --resume")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def spent(run: Path, part: str) -> dict[str, float]:
    """Steps and seconds ("step", "elapsed") of a run and of those that its `part` began with."""
    state = load_checkpoint(run)
    # A joint run goes on from a codec and from an adapter.
    earlier = state["info"].get("before", {}).get(part, state["earlier"])
    return {name: state[name] + earlier[name] for name in ("step", "elapsed")}


def part_of(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """State of the part of that name, or all of it where the whole is that part."""
    prefix = f"{name}."
    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return part or state
