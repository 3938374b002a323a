"""What a server says is worth sending: asked before a picture is coded, and kept for a day.

    GET /v1/models --> ModelInfo --kept in the cache folder--> long side in pixels

A device without a connection goes by what it was told last.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from edge_client.server.protocol import model_of
from shared.errors import CotamError, UpstreamError, UsageError
from shared.files import write_atomically
from shared.remote.places import cache_folder
from shared.schemas import ModelInfo, ModelList, QueryResponse, View

MODELS: Final = "/v1/models"
KEPT_S: Final = 24 * 3600.0
MOST_BYTES: Final = 1 << 16


class _Kept(BaseModel):
    """answered: model and view of the first answer since the server was asked."""

    model_config = ConfigDict(extra="ignore")

    served: ModelInfo
    answered: tuple[str, View] | None = None


class Served:
    """The model of one server. For several threads: each sees the old state or the new one."""

    def __init__(self, server: str) -> None:
        self._path: Path | None = None
        self._kept: _Kept | None = None
        self._asked = 0.0  # seconds since the epoch
        with suppress(UsageError):  # no home: nothing is kept
            name = hashlib.sha256(server.encode()).hexdigest()[:16]
            self._path = cache_folder().with_name("servers") / f"{name}.json"
        self._load()

    @property
    def known(self) -> bool:
        """Whether the server need not be asked now."""
        if not self._is_fresh():
            self._load()  # another process may have asked
        return self._is_fresh()

    @property
    def resolution(self) -> int | None:
        """Long side in pixels, as the server said last; None where it never did."""
        return self._kept.served.resolution or None if self._kept is not None else None

    def keep(self, response: httpx.Response) -> None:
        """Take what a server answered to GET /v1/models.

        Raises the error that it reports; one that has no such page is not asked again.
        """
        try:
            models = model_of(response, ModelList).data
            if not models:
                raise UpstreamError(f"{response.url} names no model")
        except CotamError:
            if response.status_code < 500:
                self._asked = time.time()
            raise
        self._asked = time.time()
        self._store(_Kept(served=models[0]))

    def compare(self, answer: QueryResponse) -> None:
        """Have the server asked again where its answers are of another kind than they were.

        A server that was started with another model or bundle may want another resolution.
        """
        kept, kind = self._kept, (answer.model, answer.view)
        if kept is None or kept.answered == kind:
            return
        if kept.answered is not None:
            self._asked = 0.0
        self._store(kept.model_copy(update={"answered": kind}))

    def _is_fresh(self) -> bool:
        return 0.0 <= time.time() - self._asked < KEPT_S

    def _store(self, kept: _Kept) -> None:
        self._kept = kept
        if self._path is None:
            return
        with suppress(OSError):  # what cannot be kept is asked again
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, kept.model_dump_json().encode())
            os.utime(self._path, (self._asked, self._asked))

    def _load(self) -> None:
        if self._path is None:
            return
        with suppress(OSError, ValidationError):
            with self._path.open("rb") as file:
                self._kept = _Kept.model_validate_json(file.read(MOST_BYTES))
            self._asked = self._path.stat().st_mtime
