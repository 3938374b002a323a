"""Prompts of a batch as tensors that end together, without the visual tokens that nobody reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """Token ids of a prompt and its pictures, and how many tokens each stands for: 0 where it is
    not read."""

    ids: list[int]
    read: list[int]


def batch_of(rows: Sequence[Row], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and `read`, i64 [B, S] each; rows are padded on the left."""
    longest = max(len(row.ids) for row in rows)
    before = [longest - len(row.ids) for row in rows]
    ids = [[pad] * n + row.ids for n, row in zip(before, rows, strict=True)]
    mask = [[0] * n + [1] * len(row.ids) for n, row in zip(before, rows, strict=True)]
    read = [[0] * n + row.read for n, row in zip(before, rows, strict=True)]
    return torch.tensor(ids), torch.tensor(mask), torch.tensor(read)


def positions_of(model: Any, inputs: dict[str, Any]) -> Tensor:
    """Positions i64 [B, S] or [3, B, S] of all tokens, as `model` counts them."""
    rope = getattr(getattr(model, "model", None), "get_rope_index", None)
    if rope is not None:
        positions: Tensor = rope(**inputs)[0]
        return positions
    mask: Tensor = inputs["attention_mask"]
    return (mask.cumsum(-1) - 1).clamp(min=0)


def only_read(read: Tensor, inputs: dict[str, Any], pad: int) -> tuple[dict[str, Any], Tensor]:
    """The inputs that have a number for each token, [..., B, S], without those that are not read,
    and `read` of the others; i64 [B, S] before."""
    seen = (read > 0).long()
    count = int(seen.sum(1).max())
    # What is not read comes first: rows stay padded on the left.
    order = seen.argsort(dim=1, stable=True)[:, -count:]
    mask = seen.gather(1, order)
    cut: dict[str, Any] = {}
    for name, value in inputs.items():
        chosen = value.gather(-1, order.expand(*value.shape[:-1], count))
        cut[name] = chosen.masked_fill(mask == 0, pad if name == "input_ids" else 0)
    return cut, read.gather(1, order)
