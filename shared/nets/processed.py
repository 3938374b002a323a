"""What a model's own processor makes of pictures and of the text around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]
Inputs = dict[str, Tensor]
"""What a processor makes of one picture, by the names of the model's arguments."""


def join(pictures: Sequence[Inputs]) -> Inputs:
    """The inputs of pictures of one shape as those of a batch."""
    return {name: torch.cat([picture[name] for picture in pictures]) for name in pictures[0]}


def ids_and_inputs(processor: Any, mark: str, processed: Any) -> tuple[list[int], Inputs]:
    """Token ids that stand for a mark, and the other inputs, of what a processor made of it."""
    plain = processor.tokenizer(mark).input_ids
    at = plain.index(processor.tokenizer.convert_tokens_to_ids(mark))
    ids = processed["input_ids"][0].tolist()
    texts = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
    inputs = {name: value for name, value in processed.items() if name not in texts}
    return ids[at : len(ids) - (len(plain) - at - 1)], inputs


def image_token(processor: Any) -> str:
    """The token that stands for a picture in the text."""
    token = getattr(processor, "image_token", "<image>")
    return str(getattr(token, "content", token))
