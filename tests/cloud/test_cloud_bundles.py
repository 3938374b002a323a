"""A device can fetch the edge part of a bundle, and nothing else."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from shared.bundle import MANIFEST, Bundle, manifest_id, sha256_file


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


@pytest.mark.parametrize("bundle_id", ["00000000", "tiny", "..", "%2e%2e"])
def test_no_other_bundle(server_url: str, bundle_id: str) -> None:
    response = httpx.get(f"{server_url}/v1/bundles/{bundle_id}")
    assert response.status_code == 404
