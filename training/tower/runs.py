"""What a run that trained an adapter keeps beside its weights, and how it is read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.errors import UsageError
from shared.nets.adapter import AdapterConfig, LatentAdapter
from training.loop.runner import load_checkpoint, part_of


def adapter_info(config: AdapterConfig) -> dict[str, Any]:
    """What a checkpoint has to say for `load_adapter_run` to build the adapter again."""
    return {"adapter": asdict(config)}


def load_adapter_run(run: Path) -> LatentAdapter:
    """The averaged adapter of a run of `tower`, `joint` or `restore`, in evaluation mode.

    Raises FileNotFoundError where there is no run, UsageError for one of another trainer.
    """
    state = load_checkpoint(run)
    if "adapter" not in state["info"]:
        raise UsageError(f"{run} holds no adapter", hint="name a run of `training tower`")
    adapter = LatentAdapter(AdapterConfig(**state["info"]["adapter"]))
    adapter.load_state_dict(part_of(state["average"], "adapter"))
    return adapter.eval()


def load_tower_run(run: Path) -> tuple[LatentAdapter, dict[str, Any]]:
    """The adapter of a run of `tower`, and what the run says of itself.

    Raises as `load_adapter_run`.
    """
    info = load_checkpoint(run)["info"]
    if "tower" not in info:
        raise UsageError(f"{run} is no run of `training tower`")
    return load_adapter_run(run), info


def saw_the_picture(run: Path) -> bool:
    """Whether a run's adapter was trained beside the decoded picture."""
    return bool(load_checkpoint(run)["info"].get("prior", True))
