"""Image-text models of transformers: their own processor, tower and `generate`, whatever the class.

prompt --template, tokenizer--> ids, the picture's own in place of its token --generate--> answer
                                    picture's features ----------------------------^
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.attention import Watch
from cloud_server.inference.mllm.base import GenerationRequest, SeeClip, Turn, VisualInput
from cloud_server.inference.mllm.chat import prompt_text
from cloud_server.inference.mllm.generation import (
    check_context,
    check_shown,
    generate,
    refuse_control_tokens,
)
from cloud_server.inference.mllm.rows import Row, batch_of, only_read, positions_of
from cloud_server.inference.mllm.tower import Looked, Tower
from shared.bundle import Bundle
from shared.errors import FieldInvalid
from shared.nets.fast_synthesis import Precision
from shared.nets.processed import image_token
from shared.nets.video import Video
from shared.nets.vision import Vision
from shared.schemas import View

FEWEST_SIDE = 32  # pixels of the picture that tells how many tokens a picture takes at least


class ImageText:
    """A model whose `generate` takes features, and its processor, as a Backend.

    Raises UsageError for a model without a vision tower that is known.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        bundles: Iterable[Bundle],
        precision: Precision = "auto",
        keep: float = 1.0,
    ) -> None:
        """precision: of the adapters. keep: share of a picture's tokens that are read."""
        self.name = name
        self.tower = Tower(Vision(model, processor), bundles, precision, keep)
        self.resolution = self.tower.resolution
        self._model = model
        self.watch = Watch(model)
        self._processor = processor
        self._tokenizer = processor.tokenizer
        text = model.config.get_text_config()
        self._context = int(getattr(text, "max_position_embeddings", None) or 4096)
        self._mark = self._tokenizer.convert_tokens_to_ids(image_token(processor))
        blank = torch.zeros(FEWEST_SIDE, FEWEST_SIDE, 3, dtype=torch.uint8).numpy()
        self._fewest = len(self.tower.vision.look(blank)[0])  # tokens of a picture
        self._clip_mark: int | None = None
        self.see_clip: SeeClip | None = None
        if self.tower.video is not None and self._shows_clips(self.tower.video):
            self._clip_mark, self.see_clip = self.tower.video.mark, self.tower.see_clip

    def view(self, bundle_id: bytes) -> View:
        """Adapted latents where the bundle has an adapter for this very tower."""
        return self.tower.view(bundle_id)

    def check(self, turns: Sequence[Turn], max_new_tokens: int) -> None:
        """Raise FieldInvalid for control tokens, for more text than the context holds, and for
        other pictures than the template shows."""
        refuse_control_tokens((turn.text for turn in turns), self._tokenizer)
        count = len(self._ids(turns))
        count += sum(self._fewest_of(frames) - 1 for turn in turns for frames in turn.shown)
        check_context(count, max_new_tokens, self._context)

    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the picture as `Looked`, with its features."""
        return self.tower.see(pictures)

    @torch.inference_mode()
    def answer(self, requests: Sequence[GenerationRequest]) -> None:
        """Greedy answers; rows are padded on the left."""
        rows: list[tuple[GenerationRequest, Row]] = []
        for request in requests:
            try:
                rows.append((request, self._row(request)))
            except FieldInvalid as error:
                request.sink.finish(error)
        if rows:
            self._generate(*zip(*rows, strict=True))

    def _row(self, request: GenerationRequest) -> Row:
        """Tokens of a prompt and its pictures. Raises FieldInvalid where they do not fit."""
        looks = iter(visual.content for visual in request.visuals)
        ids: list[int] = []
        read: list[int] = []
        for token in self._ids(request.turns):
            if token not in (self._mark, self._clip_mark):
                ids.append(token)
                read.append(1)
                continue
            look = next(looks)
            ids += look.ids
            read += look.read(self._mark)
        # Positions, of which a model knows so many, are those of all tokens.
        check_context(len(ids), request.max_new_tokens, self._context)
        return Row(ids, read)

    def _generate(self, requests: Sequence[GenerationRequest], rows: Sequence[Row]) -> None:
        visuals = [visual for request in requests for visual in request.visuals]
        pad = self._tokenizer.pad_token_id or 0
        ids, mask, read = batch_of(rows, pad)
        device = self.tower.vision.device
        visual_inputs, encoded = self._encoded(visuals)
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        if "mm_token_type_ids" in self._processor.model_input_names:
            kinds = self._processor.create_mm_token_type_ids(ids.tolist())
            inputs["mm_token_type_ids"] = torch.tensor(kinds, device=device)
        sizes: torch.Tensor | None = None
        if not all(all(row.read) for row in rows):
            inputs["position_ids"] = positions_of(self._model, {**visual_inputs, **inputs})
            inputs, sizes = only_read(read.to(device), inputs, pad)
        given = {**visual_inputs, **inputs, "mm_encoder_outputs": encoded}

        def looked_of() -> list[NDArray[np.float32] | None]:
            attention = self.watch.take()
            if attention is None:
                return [None] * len(rows)
            firsts = [request.visuals[0] for request in requests]
            return [
                self._looked(row, visual, weights)
                for row, visual, weights in zip(
                    inputs["input_ids"], firsts, attention[:, 0], strict=True
                )
            ]

        with self.watch.sized(sizes):
            generate(self._model, self._tokenizer, given, requests, looked_of)

    def _shows_clips(self, video: Video) -> bool:
        """Whether the model's template has a place for a clip."""
        text = prompt_text(self._processor, [Turn("user", "", 1, (2,))])
        return bool(self._tokenizer(text).input_ids.count(video.mark) == 1)

    def _encoded(self, visuals: Sequence[VisualInput]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the model is told of all pictures and clips of a batch, and their features."""
        inputs: dict[str, Any] = {}
        encoded: dict[str, Any] = {}
        for kind in ("image", "video"):
            looks: list[Looked] = [
                v.content for v in visuals if (v.frames > 1) == (kind == "video")
            ]
            if not looks:
                continue
            features: Any = [look.features for look in looks]
            if kind == "video":
                assert self.tower.video is not None
                features = self.tower.video.packed(features)
            elif self.tower.vision.packs_one:
                features = torch.cat(features)
            encoded[kind] = BaseModelOutputWithPooling(pooler_output=features)
            for name in looks[0].inputs:
                joined = torch.cat([look.inputs[name] for look in looks])
                inputs[name] = joined.to(self.tower.vision.device)
        return inputs, encoded

    def _fewest_of(self, frames: int) -> int:
        """Tokens of a picture, or of a clip of so many frames, at least."""
        if frames == 1:
            return self._fewest
        assert self.tower.video is not None
        return frames // 2 * 2 * self.tower.video.tokens_a_frame

    def _looked(
        self, row: torch.Tensor, visual: VisualInput, attention: torch.Tensor
    ) -> NDArray[np.float32] | None:
        """Attention f32 [S] of a row's ids i64 [S], as that of the picture's latents.

        None where the row shows several, or a clip.
        """
        if visual.frames > 1:
            return None
        looked: Looked = visual.content
        pruned = looked.pruned
        count = len(looked.features) if pruned is None else pruned.count
        nearest = self.tower.vision.tokens_of_latents(looked.height, looked.width, count)
        if nearest is None:
            return None
        of_picture = attention[row == self._mark].float().cpu().numpy()
        if len(of_picture) != len(looked.features):
            return None
        of_features: NDArray[np.float32] = (
            of_picture if pruned is None else pruned.spread(of_picture)
        )
        return of_features[nearest]

    def _ids(self, turns: Sequence[Turn]) -> list[int]:
        """Token ids with one token for each picture or clip. Raises FieldInvalid for other ones."""
        text = prompt_text(self._processor, turns)
        # A template may write the first token itself; the tokenizer must not do it again.
        begins = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        ids: list[int] = self._tokenizer(text, add_special_tokens=not begins).input_ids
        marks = sum(ids.count(mark) for mark in {self._mark, self._clip_mark} - {None})
        check_shown(marks, sum(turn.pictures for turn in turns))
        return ids
