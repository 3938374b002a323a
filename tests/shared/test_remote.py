"""Bundles from a hub and from plain addresses: checked, kept, and there when the hub is not."""

from __future__ import annotations

import argparse
import shutil
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.bundle import MANIFEST, Bundle
from shared.errors import BundleCorrupt, BundleMissing, UsageError
from shared.remote.places import EDGE, WHOLE, cache_folder, is_remote, open_place

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A small server that speaks what is used of the hub: `resolve`, and its way to large files.

    repositories: folders by "ORG/NAME"; revisions of them that are there. seen: path and key.
    """

    url: str = ""
    folders: dict[str, Path] = field(default_factory=dict)
    revisions: tuple[str, ...] = ("main", "refs/pr/1", COMMIT)
    private: str = ""
    damage: Callable[[str, bytes], bytes] = lambda name, data: data
    seen: list[tuple[str, str]] = field(default_factory=list)

    def find(self, path: str, key: str) -> tuple[int, bytes]:
        """Status, and the file or the place of a large one."""
        parts = path.strip("/").split("/")
        if parts[0] == "lfs":
            return 200, self._file("/".join(parts[1:3]), "/".join(parts[3:]))
        name, revision = "/".join(parts[:2]), urllib.parse.unquote(parts[3])
        if name not in self.folders or revision not in self.revisions or parts[2] != "resolve":
            return 404, b""
        if self.private and key != f"Bearer {self.private}":
            return 401, b""
        file = "/".join(parts[4:])
        if file.endswith((".safetensors", ".onnx", ".npz")):
            return 302, f"{self.url.replace('127.0.0.1', 'localhost')}/lfs/{name}/{file}".encode()
        return 200, self._file(name, file)

    def _file(self, name: str, file: str) -> bytes:
        return self.damage(file, (self.folders[name] / file).read_bytes())


@pytest.fixture
def hub(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub(folders={"cotam/tiny": bundle.root})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("authorization", "")
            state.seen.append((self.path, key))
            status, data = state.find(self.path, key)
            self.send_response(status)
            if status == 302:
                self.send_header("location", data.decode())
                data = b""
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        yield state
        http.shutdown()
        thread.join()


def test_the_edge_part_from_the_hub(
    hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_place("hf:cotam/tiny", EDGE)
    assert (opened.id, opened.root) == (bundle.id, cache_folder() / bundle.hex_id)
    for name in bundle.files("edge"):
        assert opened.path(name).read_bytes() == bundle.path(name).read_bytes()
    assert not (opened.root / bundle.files("cloud")[0]).exists()
    hub_urls = pytest.importorskip("huggingface_hub")
    wanted = hub_urls.hf_hub_url("cotam/tiny", MANIFEST, endpoint=hub.url)
    assert hub.url + hub.seen[0][0] == wanted
    # Again: one look at the manifest. Away: what was there last.
    hub.seen.clear()
    assert open_place("hf:cotam/tiny", EDGE).id == bundle.id
    assert len(hub.seen) == 1
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert open_place("hf:cotam/tiny", EDGE).root == opened.root
    with pytest.raises(BundleMissing, match="hf:cotam/other cannot be reached"):
        open_place("hf:cotam/other", EDGE)


def test_all_of_it_for_a_server(hub: Hub, bundle: Bundle) -> None:
    open_place("hf:cotam/tiny", EDGE)
    whole = open_place("hf:cotam/tiny", WHOLE)
    assert whole.id == bundle.id
    for name in bundle.manifest.files:
        assert whole.path(name).exists()


def test_a_commit_is_asked_for_once(hub: Hub, bundle: Bundle) -> None:
    for revision in ("refs/pr/1", COMMIT, COMMIT):
        hub.seen.clear()
        assert open_place(f"hf:cotam/tiny@{revision}", EDGE).id == bundle.id
    assert hub.seen == []


def test_a_plain_address(hub: Hub, bundle: Bundle) -> None:
    for url in (f"{hub.url}/lfs/cotam/tiny/", f"{hub.url}/lfs/cotam/tiny/{MANIFEST}"):
        assert open_place(url, EDGE).id == bundle.id
    assert all(not key for _, key in hub.seen)


def test_a_private_repository(hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private = "secret"
    with pytest.raises(BundleMissing, match="set HF_TOKEN"):
        open_place("hf:cotam/tiny", EDGE)
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.seen.clear()
    assert open_place("hf:cotam/tiny", EDGE).id == bundle.id
    keys = {path.startswith("/lfs/"): key for path, key in hub.seen}
    assert keys == {False: "Bearer secret", True: ""}  # large files lie with somebody else


@pytest.mark.parametrize("damage", ["file", "longer", "manifest"])
def test_what_does_not_match_its_hash_is_not_kept(hub: Hub, damage: str) -> None:
    def damaged(name: str, data: bytes) -> bytes:
        if damage == "manifest":
            return data[:-3] if name == MANIFEST else data
        if name == MANIFEST:
            return data
        return data[:-1] + b"?" if damage == "file" else data + b"?"

    hub.damage = damaged
    with pytest.raises(BundleCorrupt):
        open_place("hf:cotam/tiny", EDGE)
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("place", ["hf:tiny", "hf:a/b/c", "hf:../x@main", "hf:a/b@", "hf:a b/c"])
def test_places_that_are_none(place: str) -> None:
    with pytest.raises(UsageError, match="hf:ORG/NAME"):
        open_place(place, EDGE)


def test_places_of_this_machine_stay(bundle: Bundle, tmp_path: Path) -> None:
    assert open_place("tiny", EDGE).root == bundle.root
    assert open_place(str(bundle.root), WHOLE).root == bundle.root
    assert not is_remote(tmp_path)
    with pytest.raises(BundleMissing):
        open_place(str(tmp_path), EDGE)


def test_what_is_published_can_be_used(hub: Hub, bundle: Bundle, tmp_path: Path) -> None:
    publish = pytest.importorskip("training.bundle.publish")
    out = tmp_path / "repository"
    arguments = argparse.Namespace(bundle="tiny", repo="someone/tiny", out=out)
    publish.main(arguments)
    with pytest.raises(UsageError, match="exists"):
        publish.main(arguments)
    hub.folders["someone/tiny"] = out
    assert open_place("hf:someone/tiny", WHOLE).id == bundle.id
    cards = pytest.importorskip("huggingface_hub")
    card = cards.ModelCard.load(out / "README.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "cotam")
    for name, entry in bundle.manifest.files.items():
        assert f"| `{name}` | {entry.part} | {entry.bytes} | `{entry.sha256}` |" in card.text
    assert "*.safetensors filter=lfs" in (out / ".gitattributes").read_text()
    shutil.rmtree(out)
