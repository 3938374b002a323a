"""Bundles of the device: embedded, fetched, checked, chosen by what the server takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_client import AsyncEdgeClient, EdgeClient
from edge_client.coding.bundles import find_named, local_bundles
from edge_client.server.bundles import fetch_bundle, server_bundle_ids
from shared.bitstream import Bitstream
from shared.bundle import MANIFEST, Bundle
from shared.errors import BundleCorrupt, BundleMissing, BundleUnknown, NotFound, ServerUnreachable

Cli = Callable[..., Any]


def test_fetch(store: Any, other: Bundle, cache: Path) -> None:
    with httpx.Client(base_url=store.url) as http:
        fetched = fetch_bundle(http, other.hex_id)
    assert fetched.id == other.id
    assert fetched.root == cache / other.hex_id
    for name in other.files("edge"):
        assert fetched.path(name).read_bytes() == other.path(name).read_bytes()
    assert not list(cache.glob(".*"))
    store.pages.clear()
    with httpx.Client(base_url=store.url) as http:
        assert fetch_bundle(http, other.hex_id).id == other.id  # from the cache
        with pytest.raises(NotFound):
            fetch_bundle(http, "00000000")
    assert [b.manifest.version for b in local_bundles()][-1] == "9.9"
    assert find_named(other.hex_id).id == other.id


@pytest.mark.parametrize("damage", ["manifest", "file", "longer"])
def test_what_does_not_match_its_hash_is_not_kept(
    damage: str, store: Any, other: Bundle, cache: Path
) -> None:
    url = f"/v1/bundles/{other.hex_id}"
    file = f"{url}/files/{other.files('edge')[0]}"
    if damage == "manifest":
        store.pages[url] = store.pages[url].replace(b"9.9", b"9.8")
    elif damage == "file":
        store.pages[file] = store.pages[file][:-1] + b"?"
    else:
        store.pages[file] += b"?"
    with httpx.Client(base_url=store.url) as http, pytest.raises(BundleCorrupt):
        fetch_bundle(http, other.hex_id)
    assert list(cache.iterdir()) == []


def test_the_client_takes_the_bundle_that_its_server_has(
    store: Any, other: Bundle, bundle: Bundle, photo: Path, problem: Any
) -> None:
    refusal = problem(409, "bundle_unknown", "not here", bundles=[other.hex_id])
    store.replies = [refusal]
    with EdgeClient(store.url, threads=1) as client:
        assert client.ask(photo, "first?").image.codec == other.codec_id.hex()
        assert client.ask(photo, "second?").image.codec == other.codec_id.hex()
    ids = [Bitstream.from_bytes(s.fields["bitstream"]).codec_id for s in store.seen]
    assert ids == [bundle.codec_id, other.codec_id, other.codec_id]

    async def ask_again() -> str:
        async with AsyncEdgeClient(store.url, threads=1) as client:
            return (await client.ask(photo, "third?")).image.codec

    store.replies = [refusal]
    assert asyncio.run(ask_again()) == other.codec_id.hex()
    store.replies = [refusal]
    with EdgeClient(store.url, bundle="tiny", threads=1) as client, pytest.raises(BundleUnknown):
        client.ask(photo, "with the one that was asked for, or not at all")


def test_a_server_without_bundles(server: Any, photo: Path, problem: Any) -> None:
    server.pages["/v1/models"] = b'{"data": []}'
    server.replies = [problem(409, "bundle_unknown", "not here")]
    with (
        EdgeClient(server.url, threads=1) as client,
        pytest.raises(BundleUnknown, match="not here"),
    ):
        client.ask(photo, "?")


def test_a_bundle_of_a_codec_that_the_server_takes_is_not_fetched_again(
    server: Any, other: Bundle, bundle: Bundle, cache: Path
) -> None:
    cache.mkdir(parents=True)
    other.root.rename(cache / other.hex_id)
    model = {"id": "m", "view": "adapter", "bundles": ["00112233"], "codecs": []}
    for codecs, taken in (
        ([other.codec_id.hex()], other),
        ([other.codec_id.hex(), bundle.codec_id.hex()], bundle),
    ):
        models = {"data": [{**model, "codecs": codecs}]}
        server.pages["/v1/models"] = json.dumps(models).encode()
        with EdgeClient(server.url, threads=1) as client:
            assert client.agree().id == taken.id


def test_names(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("auto", "tiny", bundle.hex_id, str(bundle.root)):
        assert find_named(name).id == bundle.id
    with pytest.raises(BundleMissing, match="nowhere"):
        find_named("nowhere")


def test_command_line(cli: Cli, store: Any, other: Bundle, bundle: Bundle, photo: Path) -> None:
    assert cli("bundle", "list").out.startswith(bundle.hex_id)
    fetched = cli("bundle", "fetch", "--server", store.url)
    assert fetched.code == 0
    assert fetched.out.startswith(other.hex_id)
    again = cli("bundle", "fetch", other.hex_id, "--server", store.url, "--json")
    assert "already" in again.err
    assert json.loads(again.out)["version"] == "9.9"
    assert cli("encode", photo, "--bundle", other.hex_id).code == 0
    data = photo.with_suffix(".cotam").read_bytes()
    assert Bitstream.from_bytes(data).codec_id == other.codec_id
    assert cli("bundle", "fetch", "--server", "http://127.0.0.1:9").code == 4


def test_fetch_from_the_real_cloud(server_url: str, bundle: Bundle, cache: Path) -> None:
    with httpx.Client(base_url=server_url) as http:
        assert server_bundle_ids(http) == [bundle.hex_id]
        fetched = fetch_bundle(http, bundle.hex_id)
    assert fetched.root == cache / bundle.hex_id
    assert {path.name for path in fetched.root.iterdir()} == {MANIFEST, *bundle.files("edge")}
    with pytest.raises(ServerUnreachable), EdgeClient("http://127.0.0.1:9") as client:
        client.agree()
