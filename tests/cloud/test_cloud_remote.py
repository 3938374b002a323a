"""A server whose bundle lies elsewhere: fetched whole as it starts, then as any."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cloud_server.service import Service
from cloud_server.settings import load_settings
from shared.bundle import Bundle
from shared.errors import BundleMissing


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_the_bundle_of_a_server_comes_from_an_address(
    bundle: Bundle, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    handler = functools.partial(Quiet, directory=str(bundle.root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{http.server_port}"
        (here,) = Service(load_settings(bundle=url)).bundles
        http.shutdown()
        thread.join()
    assert (here.id, here.root.parent.parent.parent) == (bundle.id, tmp_path)
    for name in bundle.manifest.files:
        assert here.path(name).read_bytes() == bundle.path(name).read_bytes()
    assert Service(load_settings(bundle=url)).bundles[0].root == here.root  # and offline
    with pytest.raises(BundleMissing, match="cannot be reached"):
        Service(load_settings(bundle=f"{url}/other"))
