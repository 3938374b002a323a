"""Pictures are coded at the resolution that the server asks for."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_client import AsyncEdgeClient, EdgeClient
from edge_client.server.client import Retries
from edge_client.server.served import KEPT_S
from evaluation.machine.relay import counting_relay
from shared.bitstream import Bitstream
from shared.bundle import MANIFEST, Bundle

Cli = Callable[..., Any]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def photo(draw: Callable[..., np.ndarray], tmp_path: Path) -> Path:
    """A PNG of 600x400."""
    path = tmp_path / "large.png"
    Image.fromarray(draw(600, 400)).save(path)
    return path


@pytest.fixture(scope="module")
def wide_url(
    bundle: Bundle, serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A real server with another bundle of the embedded codec, for pictures of 384 pixels."""
    root = tmp_path_factory.mktemp("bundles") / "wide"
    shutil.copytree(bundle.root, root)
    manifest = json.loads((root / MANIFEST).read_bytes())
    (root / MANIFEST).write_text(json.dumps({**manifest, "name": "wide", "resolution": 384}))
    return serve(bundle=str(root))


@pytest.fixture
def model(server: Any) -> Callable[[int], None]:
    """Sets what the small server says is worth sending."""

    def says(resolution: int) -> None:
        model = {"id": "tiny", "view": "adapter", "bundles": [], "resolution": resolution}
        server.pages["/v1/models"] = json.dumps({"data": [model]}).encode()

    return says


def widths(server: Any) -> list[int]:
    return [Bitstream.from_bytes(seen.fields["bitstream"]).width for seen in server.seen]


def kept(cache: Path) -> Path:
    """The file in which the only server's answer is kept."""
    (file,) = (cache.parent / "servers").iterdir()
    return file


def test_a_real_server_is_asked_once_and_gets_its_resolution(
    wide_url: str, photo: Path, bundle: Bundle
) -> None:
    with counting_relay(wide_url) as relay:
        with EdgeClient(relay.url, threads=1) as client:
            assert client.bundle.manifest.resolution == 256
            answer = client.ask(photo, "how many cars?", max_new_tokens=2)
            first, size = relay.up, answer.image.bytes
            client.ask(photo, "how many cars?", max_new_tokens=2)
            again = relay.up - first
        assert relay.connections == 1
        with EdgeClient(relay.url, threads=1) as another:
            assert another.encode(photo).width == 384
            before = relay.up
            another.ask(photo, "how many cars?", max_new_tokens=2)
            assert relay.up - before == again
    assert (answer.image.width, answer.image.height) == (384, 256)
    assert (answer.view, answer.image.codec) == ("adapter", bundle.codec_id.hex())
    assert again < first < again + 60
    assert again - size < 200


def test_the_event_loop_and_the_command_line_follow_as_well(
    wide_url: str, photo: Path, cli: Cli
) -> None:
    async def width() -> int:
        async with AsyncEdgeClient(wide_url, threads=1) as client:
            return (await client.ask(photo, "?", max_new_tokens=1)).image.width

    assert asyncio.run(width()) == 384
    sent = cli("send", photo, "?", "-s", wide_url, "--max-new-tokens", 1, "--json")
    assert json.loads(sent.out)["stream"]["width"] == 384


@pytest.mark.parametrize(
    ("options", "width"),
    [
        (("--resolution", 100), 100),
        (("--resolution", "native"), 600),
        (("--bundle", "tiny"), 256),
        ((), 384),
    ],
)
def test_who_says_a_resolution_or_a_bundle_gets_it(
    server: Any, model: Callable[[int], None], photo: Path, cli: Cli, options: Any, width: int
) -> None:
    model(384)
    assert cli("send", photo, "?", "-s", server.url, *options).code == 0
    assert widths(server) == [width]


def test_offline_the_last_answer_counts(
    server: Any, model: Callable[[int], None], photo: Path, cli: Cli, cache: Path, tmp_path: Path
) -> None:
    """Or, where a server was never reached, what the bundle says."""
    stream = tmp_path / "kept.cotam"
    never = ("send", photo, "?", "-s", NOWHERE, "--retries", 0, "--save-bitstream", stream)
    assert cli(*never).code == 4
    assert Bitstream.from_bytes(stream.read_bytes()).width == 256

    model(384)
    with EdgeClient(server.url, threads=1, retries=Retries(0)) as client:
        client.ask(photo, "?")
    old = kept(cache).stat().st_mtime - KEPT_S - 60
    os.utime(kept(cache), (old, old))
    del server.pages["/v1/models"]
    dry = cli("send", photo, "?", "-s", server.url, "--dry-run", "--json")
    assert json.loads(dry.out)["stream"]["width"] == 384
    assert cli("send", photo, "?", "-s", server.url).code == 0
    assert widths(server) == [384, 384]


def test_a_server_that_is_busy_is_waited_for_once(
    server: Any, photo: Path, problem: Any, cli: Cli
) -> None:
    """What cannot be looked up now is not sent now either, but coded and kept."""
    server.busy = problem(503, "overloaded", "busy")
    assert cli("send", photo, "?", "-s", server.url, "--retries", 0).code == 6
    assert server.seen == []
    server.busy = None
    assert cli("spool", "flush", "-s", server.url).out.endswith("256 by 171\n")


def test_an_answer_of_another_kind_has_the_server_asked_again(
    server: Any, model: Callable[[int], None], photo: Path, cache: Path
) -> None:
    model(384)
    with EdgeClient(server.url, threads=1) as client:
        client.ask(photo, "?")
        model(128)
        client.ask(photo, "?")
        server.view = "picture"  # restarted, with another bundle
        client.ask(photo, "?")
        client.ask(photo, "?")
        client.ask(photo, "?")
    assert widths(server) == [384, 384, 384, 128, 128]


@pytest.mark.parametrize("page", [b"{", b'{"data": []}', None])
def test_a_server_that_does_not_say_leaves_it_to_the_bundle(
    server: Any, photo: Path, page: bytes | None
) -> None:
    if page is not None:
        server.pages["/v1/models"] = page
    with EdgeClient(server.url, threads=1, retries=Retries(0)) as client:
        client.ask(photo, "?")
        server.pages["/v1/models"] = b'{"data": [{"id": "a", "view": "picture", "bundles": []}]}'
        client.ask(photo, "?")
    assert widths(server) == [256, 256]


def test_what_cannot_be_kept_is_asked_again(
    server: Any, model: Callable[[int], None], photo: Path, cache: Path
) -> None:
    model(384)
    cache.parent.parent.mkdir(parents=True)
    cache.parent.touch()  # a file where the folder should be
    with EdgeClient(server.url, threads=1) as client:
        client.ask(photo, "?")
    assert widths(server) == [384]
