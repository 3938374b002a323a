"""A device can fetch the edge part of a bundle, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from shared.bundle import GUIDANCE, MANIFEST, Bundle, manifest_id, sha256_file


def test_the_edge_part_can_be_fetched_and_opened(
    server_url: str, bundle: Bundle, tmp_path: Path
) -> None:
    url = f"{server_url}/v1/bundles/{bundle.hex_id}"
    raw = httpx.get(url).content
    assert manifest_id(raw) == bundle.id
    (tmp_path / MANIFEST).write_bytes(raw)
    fetched = Bundle.open(tmp_path)
    for name in fetched.files("edge"):
        response = httpx.get(f"{url}/files/{name}")
        (tmp_path / name).write_bytes(response.content)
        assert response.headers["etag"] == f'"{sha256_file(bundle.root / name)}"'
        assert fetched.path(name).is_file()
    assert fetched.files("edge")


@pytest.mark.parametrize(
    "name",
    [
        "decoder.safetensors",
        "mllm/config.json",
        "manifest.json",
        "../manifest.json",
        "%2e%2e/%2e%2e/errors.py",
        "/etc/passwd",
        "..%2f..%2ferrors.py",
        "%00",
        "",
    ],
)
def test_no_other_file(server_url: str, bundle: Bundle, name: str) -> None:
    response = httpx.get(f"{server_url}/v1/bundles/{bundle.hex_id}/files/{name}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_what_changed_on_the_disk_is_not_handed_out(
    serve: Callable[..., str], bundle: Bundle, tmp_path: Path
) -> None:
    root = tmp_path / "changed"
    shutil.copytree(bundle.root, root)
    url = f"{serve(bundle=str(root))}/v1/bundles/{bundle.hex_id}"
    for name, path in ((GUIDANCE, f"/files/{GUIDANCE}"), (MANIFEST, "")):
        (root / name).write_bytes((root / name).read_bytes() + b"\n")
        response = httpx.get(url + path)
        assert (response.status_code, response.json()["code"]) == (500, "bundle_corrupt")


def test_a_part_of_a_file(server_url: str, bundle: Bundle) -> None:
    url = f"{server_url}/v1/bundles/{bundle.hex_id}/files/{GUIDANCE}"
    whole = (bundle.root / GUIDANCE).read_bytes()
    for asked, status, body in (
        ("bytes=1000-", 206, whole[1000:]),
        ("bytes=-5", 206, whole[-5:]),
        (f"bytes={len(whole)}-", 416, b""),
        ("lines=1-2", 400, b"Only support bytes range"),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(200)), 200, whole),
    ):
        response = httpx.get(url, headers={"range": asked})
        assert (response.status_code, response.content) == (status, body), asked[:20]


@pytest.mark.parametrize("bundle_id", ["00000000", "tiny", "..", "%2e%2e"])
def test_no_other_bundle(server_url: str, bundle_id: str) -> None:
    response = httpx.get(f"{server_url}/v1/bundles/{bundle_id}")
    assert response.status_code == 404
