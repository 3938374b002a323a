"""A language model behind another server that speaks OpenAI's chat completions (vLLM, SGLang).

It gets the decoded picture as a PNG, or features that the tower here has made of it, with the
adapter; answers are streamed from it, so that one that nobody waits for any more is hung up on.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx
import torch
from PIL import Image

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import Answer, Finish, GenerationRequest, Turn, VisualInput
from cloud_server.inference.mllm.circuit import Circuit
from cloud_server.inference.mllm.tower import Tower
from shared.errors import CotamError, UpstreamError, UsageError
from shared.schemas import View

RETRIED: Final = frozenset({429, 500, 502, 503, 504})
REFUSES: Final = frozenset({400, 422})
LONGEST_PAUSE_S: Final = 10.0


@dataclass(frozen=True)
class UpstreamOptions:
    """model: empty for the first that the upstream names. key: sent as a bearer token.

    tower: folder or hub id of the LLaVA that the upstream runs, if it is to get features.
    """

    model: str = ""
    key: str = ""
    timeout_s: float = 30.0
    retries: int = 2
    tower: str = ""


class _Again(Exception):
    """A failure that is worth another try, after `pause` seconds where the upstream said so."""

    def __init__(self, error: UpstreamError, pause: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause


class Upstream:
    """Chat completions of another server as a Backend. Raises UpstreamError when it is absent."""

    resolution = None
    see_clip = None

    def __init__(
        self,
        url: str,
        options: UpstreamOptions,
        circuit: Circuit | None = None,
        pause: Callable[[float], None] = time.sleep,
        tower: Tower | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {options.key}"} if options.key else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=options.timeout_s)
        except UnicodeError as error:
            raise UsageError(
                "COTAM_UPSTREAM_KEY holds a character that no key has", hint="use ASCII"
            ) from error
        except (OSError, ImportError, ValueError, httpx.InvalidURL) as error:
            # Certificates and proxies of the environment are looked at here.
            raise UsageError(
                f"{url} cannot be asked: {error}",
                hint="look at its spelling, and at SSL_CERT_FILE, ALL_PROXY and HTTP_PROXY",
            ) from error
        self._retries = options.retries
        self._circuit = circuit or Circuit()
        self._pause = pause
        self._tower = tower
        self._tells_probabilities = True  # until it refuses to
        self.name = options.model or self._first_model()

    def view(self, bundle_id: bytes) -> View:
        """The decoded picture, or adapted latents where a tower here has an adapter."""
        return "picture" if self._tower is None else self._tower.view(bundle_id)

    def check(self, turns: Sequence[Turn], max_new_tokens: int) -> None:
        """The upstream knows its own limits."""

    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the part of a message that is the picture."""
        if self._tower is None:
            return [_as_png(picture) for picture in pictures]
        return [_as_features(visual) for visual in self._tower.see(pictures)]

    def answer(self, requests: Sequence[GenerationRequest]) -> None:
        """All are asked for at once; the upstream batches them."""
        with ThreadPoolExecutor(len(requests)) as pool:
            list(pool.map(self._answer, requests))

    def _answer(self, request: GenerationRequest) -> None:
        try:
            request.sink.finish(self._with_retries(request))
        except CotamError as error:
            request.sink.finish(error)

    def _with_retries(self, request: GenerationRequest) -> Answer:
        for attempt in range(self._retries + 1):
            self._circuit.check()
            try:
                answer = self._ask(request)
            except _Again as again:
                self._circuit.failed()
                if attempt == self._retries or request.sink.stopped():
                    raise again.error from again
                pause = 0.25 * 2**attempt if again.pause is None else again.pause
                self._pause(min(LONGEST_PAUSE_S, pause))
            else:
                self._circuit.succeeded()
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, request: GenerationRequest) -> Answer:
        text: list[str] = []
        usage: dict[str, int] = {}
        finish: Finish = "stop"
        logs: list[float] = []
        try:
            with self._http.stream("POST", "chat/completions", json=self._body(request)) as got:
                if self._refuses_probabilities(got):
                    self._tells_probabilities = False
                    return self._ask(request)
                _check(got)
                for chunk in _chunks(got):
                    usage = chunk.get("usage") or usage
                    for choice in chunk.get("choices", [])[:1]:
                        piece = choice.get("delta", {}).get("content") or ""
                        if not text:  # vLLM begins with the space before the first word
                            piece = piece.lstrip()
                        if piece:
                            text.append(piece)
                            request.sink.text(piece)
                        logs += _log_probabilities(choice)
                        if choice.get("finish_reason") == "length":
                            finish = "length"
                    if request.sink.stopped():
                        break
        except (httpx.HTTPError, ValueError, AttributeError, KeyError, TypeError) as error:
            failure = UpstreamError(f"the model's server failed: {type(error).__name__}")
            if text:  # words that have been passed on cannot be taken back
                self._circuit.failed()
                raise failure from error
            raise _Again(failure) from error
        return Answer(
            "".join(text),
            usage.get("prompt_tokens", 0),
            usage.get("completion_tokens", len(text)),
            finish,
            math.exp(min(0.0, *logs)) if logs else None,
        )

    def _refuses_probabilities(self, response: httpx.Response) -> bool:
        """Whether a response refuses the request for its log-probabilities alone."""
        if not (self._tells_probabilities and response.status_code in REFUSES):
            return False
        return b"logprob" in response.read()

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        pictures = iter([visual.content for visual in request.visuals])
        messages = [
            {
                "role": turn.role,
                "content": [
                    *itertools.islice(pictures, turn.pictures),
                    {"type": "text", "text": turn.text},
                ],
            }
            for turn in request.turns
        ]
        return {
            "model": self.name,
            "messages": messages,
            "max_tokens": request.max_new_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"logprobs": True} if self._tells_probabilities else {}),
        }

    def _first_model(self) -> str:
        try:
            models = self._http.get("models").raise_for_status().json()
            return str(models["data"][0]["id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UpstreamError(
                f"{self._http.base_url} names no model: {error}",
                hint="is it the address of an OpenAI-form server, ending in /v1?",
            ) from error


def _check(response: httpx.Response) -> None:
    """Raise for a response that is none of success."""
    if response.is_success:
        return
    response.read()
    error = UpstreamError(
        f"the model's server answered {response.status_code}: {response.text[:200]!r}"
    )
    if response.status_code in RETRIED:
        given = response.headers.get("retry-after", "")
        pause = float(given) if given.isdigit() else None
        error.retry_after = pause
        raise _Again(error, pause)
    raise error


def _chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, up to [DONE]."""
    for line in response.iter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        yield json.loads(data)
    raise httpx.RemoteProtocolError("the stream ended before [DONE]")


def _log_probabilities(choice: dict[str, Any]) -> list[float]:
    """Those of a chunk's tokens, where the upstream tells them."""
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [float(token["logprob"]) for token in tokens]


def _as_png(decoded: Decoded) -> VisualInput:
    file = io.BytesIO()
    Image.fromarray(decoded.picture).save(file, "png", compress_level=1)
    url = f"data:image/png;base64,{_base64(file)}"
    return VisualInput("picture", {"type": "image_url", "image_url": {"url": url}}, len(url))


def _as_features(seen: VisualInput) -> VisualInput:
    """Features [N, D] in the form of vLLM's embedding inputs: a tensor as torch saves it."""
    file = io.BytesIO()
    torch.save(seen.content.features.cpu(), file)
    text = _base64(file)
    return VisualInput(seen.view, {"type": "image_embeds", "image_embeds": text}, len(text))


def _base64(file: io.BytesIO) -> str:
    return base64.b64encode(file.getvalue()).decode()
