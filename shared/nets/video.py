"""The video input of image-text models of transformers, as it is.

frames, times --the model's own video processor--> pixel values
        --patch embeddings (+ tokens of each frame)--> layers --projector, pooling--> features
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from shared.nets.adapter import LatentAdapter
from shared.nets.geometry import Geometry, Patches, measure
from shared.nets.processed import Inputs, Picture, ids_and_inputs
from shared.nets.vision import Vision, added

MODELS: Final = ("llava_next_video", "llava_onevision", "qwen2_vl", "qwen2_5_vl")
"""What transformers calls the classes whose video input is used."""
TICKS: Final = 1000  # of a second
SIDE: Final = 32  # pixels of the frames that tell how many tokens a clip takes


class Video:
    """What a model's own processor and tower make of clips.

    vision: the same model's, of one of `MODELS`. adapts: whether each frame has patch embeddings of
    its own, to which tokens can be added; a tower whose patches hold two frames has none.
    """

    def __init__(self, vision: Vision) -> None:
        self._vision = vision
        token = vision.processor.video_token
        self._token = str(getattr(token, "content", token))
        self.mark = int(vision.processor.tokenizer.convert_tokens_to_ids(self._token))
        self.adapts = vision.grid is not None
        self.stacks = False  # whether features of clips are one tensor, known when it has seen
        self._geometry = functools.lru_cache(maxsize=256)(self._measure)

    @staticmethod
    def of(vision: Vision) -> Video | None:
        """The video input of a model; None where it has none that is known."""
        known = vision.config.model_type in MODELS
        return Video(vision) if known and vision.processor.video_processor is not None else None

    @functools.cached_property
    def tokens_a_frame(self) -> int:
        """By how many tokens a frame makes a clip longer, at least."""
        blank = np.zeros((SIDE, SIDE, 3), np.uint8)
        two, four = (len(self.look([blank] * n, range(n))[0]) for n in (2, 4))
        return (four - two) // 2

    def look(self, frames: Sequence[Picture], times: Sequence[float]) -> tuple[list[int], Inputs]:
        """The token ids that stand for a clip in a prompt, and what the model is given of it.

        frames: u8 [H, W, 3] of one size, all of which are shown. times: seconds, rising.
        """
        processed = self._vision.processor(
            text=[self._token],
            videos=[np.stack(frames)],
            video_metadata=[metadata(times)],
            do_sample_frames=False,
            return_tensors="pt",
        )
        return ids_and_inputs(self._vision.processor, self._token, processed)

    def features(self, inputs: Inputs, tokens: Tensor | None = None) -> Tensor:
        """Projected features [N, D] of a clip, as the model pools them.

        tokens: what is added to the patch embeddings of its frames.
        """
        given = {n: v for n, v in inputs.items() if n in ("pixel_values_videos", "video_grid_thw")}
        with added(self._vision.embeddings, tokens):
            output = self._vision.base.get_video_features(
                **self._vision.moved(given), return_dict=True
            )
        self.stacks = isinstance(output.pooler_output, Tensor)
        (packed,) = output.pooler_output
        features: Tensor = packed.reshape(-1, packed.shape[-1])
        return features

    def packed(self, features: Sequence[Tensor]) -> Any:
        """Features of clips in the form in which the model takes those of a batch."""
        return torch.cat(list(features)).unsqueeze(0) if self.stacks else list(features)

    def adapt(
        self, adapter: LatentAdapter, latents: Tensor, codes: Tensor, height: int, width: int
    ) -> Tensor:
        """As `Vision.adapt`, of frames: tokens [B, leading + T, D]."""
        geometry = self._geometry(height, width)
        sampled, quality = geometry.sample(latents, codes, width, height)
        covered = geometry.covered.repeat(len(latents), 1, 1).to(sampled.device)
        tokens: Tensor = adapter(sampled, quality, covered)
        return tokens

    def _measure(self, height: int, width: int) -> Geometry:
        def patches(picture: Picture) -> Patches:
            pixels = self.look([picture], [0.0])[1]["pixel_values_videos"]
            return self._vision.patches({"pixel_values": pixels})

        return measure(patches, height, width)


def metadata(times: Sequence[float]) -> dict[str, Any]:
    """When frames were taken, as transformers' video processors are told.

    Frames are counted in thousandths of a second, so that uneven times stay what they are and the
    rate that a processor works out is that of the frames.
    """
    indices = [round(TICKS * (time - times[0])) for time in times]
    span = max(indices[-1], 1)
    total = round(span * len(times) / max(len(times) - 1, 1))
    return {"fps": TICKS, "total_num_frames": total, "frames_indices": indices}
