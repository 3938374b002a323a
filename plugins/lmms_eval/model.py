"""Any model of lmms-eval, asked about pictures that went through a stream.

task --picture--> encode --stream, its bytes counted--> decode --picture--> inner model --> answer

lmms-eval --model cotam --model_args inner=llava_hf,pretrained=...,quality=3 --tasks mme
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.models import get_model
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from PIL import Image

from cloud_server import decode
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.images import Resolution
from shared.bundle import DEFAULT


class Cotam(lmms):
    """The model `inner` of lmms-eval; all arguments that are not named here are its own.

    quality: 0 to 9, default the bundle's. budget: bytes a picture, instead of a quality.
    resolution: "native" codes pictures at their own size, "model" at what the bundle was made for;
    or the long side in pixels. guidance: whether the importance map is used. bundle: embedded name,
    folder, URL or hf:ORG/NAME.

    The results have `avg_picture_bytes` and `avg_picture_bpp` (of the pictures as they were coded)
    under `throughput`. Pictures alone are coded, no films and no sound.
    """

    def __init__(
        self,
        inner: str,
        quality: float | None = None,
        budget: int | None = None,
        resolution: Resolution = "native",
        guidance: bool = True,
        bundle: str = DEFAULT,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self._coder = PictureCoder(
            bundle, quality=quality, budget=budget, resolution=resolution, guidance=guidance
        )
        self._sizes: dict[bytes, tuple[int, int]] = {}
        self._inner: Any = get_model(inner)(**arguments)
        self.is_simple = self._inner.is_simple
        self.task_dict = self._inner.task_dict

    def __getattr__(self, name: str) -> Any:
        """What the evaluator asks of a model beside what is here is the inner one's."""
        if name == "_inner":  # not there yet
            raise AttributeError(name)
        return getattr(self._inner, name)

    @property
    def rank(self) -> int:
        """Of the inner model."""
        return int(self._inner.rank)

    @property
    def world_size(self) -> int:
        """Of the inner model."""
        return int(self._inner.world_size)

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Pass it on: answers are those of the inner model."""
        self._inner.set_cache_hook(cache_hook)

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """As the inner model."""
        return self._ask(self._inner.loglikelihood, requests)

    def generate_until(self, requests: Sequence[Any]) -> Any:
        """As the inner model."""
        return self._ask(self._inner.generate_until, requests)

    def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
        """As the inner model."""
        return self._ask(self._inner.generate_until_multi_round, requests)

    def transmit(self, picture: Image.Image) -> Image.Image:
        """What arrives of a picture, RGB; its bytes are counted once."""
        stream = self._coder.encode(picture)
        data = stream.to_bytes()
        name = hashlib.sha256(picture.convert("RGB").tobytes()).digest()
        self._sizes[name] = len(data), stream.width * stream.height
        return decode(data, bundles=[self._coder.bundle.root])

    def _ask(self, inner: Callable[[Sequence[Any]], Any], requests: Sequence[Any]) -> Any:
        answers = inner([self._transmitted(request) for request in requests])
        if self._sizes:
            count = len(self._sizes)
            averages = {
                "picture_bytes": sum(size for size, _ in self._sizes.values()) / count,
                "picture_bpp": sum(8 * size / area for size, area in self._sizes.values()) / count,
                "pictures": count,
            }
            log_metrics(0.0, 0, 0.0, additional_metrics=averages)
        return answers

    def _transmitted(self, request: Any) -> Any:
        """A request whose pictures are what arrives of them."""
        changed = copy.copy(request)
        arguments = list(request.args)
        if self.is_simple:
            arguments[2] = self._visuals(arguments[2])
        else:
            arguments[1] = self._messages(arguments[1])
        changed.arguments = tuple(arguments)
        return changed

    def _visuals(self, doc_to_visual: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def visuals(doc: Any) -> Any:
            return [self._arrived(visual) for visual in doc_to_visual(doc) or []]

        return visuals

    def _messages(self, doc_to_messages: Callable[..., Any]) -> Callable[..., Any]:
        def messages(doc: Any, **rounds: Any) -> Any:
            talk = copy.deepcopy(doc_to_messages(doc, **rounds))
            for message in talk:
                for part in message["content"]:
                    if part["type"] == "image":
                        part["url"] = self._arrived(part["url"])
            return talk

        return messages

    def _arrived(self, visual: Any) -> Any:
        return self.transmit(visual) if isinstance(visual, Image.Image) else visual
