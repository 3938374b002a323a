"""What a user's environment can break ends in one line that names it, and never in a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cloud_server.inference.engine import load_engine
from cloud_server.observe.tracing import Tracing
from cloud_server.server import run
from cloud_server.settings import load_settings
from shared.bundle import DEFAULT, MLLM, Bundle, embedded, open_bundle
from shared.errors import UsageError

UPSTREAM = "http://127.0.0.1:9/v1"


def refusal(**flags: object) -> str:
    """The one line for settings with which nothing can be served."""
    settings = load_settings(threads=1, **flags)
    with pytest.raises(UsageError) as raised:
        load_engine(settings, [open_bundle(place) for place in settings.bundle])
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 700
    assert raised.value.hint
    return line


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refusal(device="cuda").startswith("the device is 'cuda', and torch finds no GPU here")


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "SafetensorError"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 99), "header"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "KeyError"),
        (lambda folder: (folder / "config.json").write_text("{"), "valid JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "x"}'), "type `x`"),
        (shutil.rmtree, "nowhere"),
    ],
)
def test_a_model_that_is_damaged(
    bundle: Bundle, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "nowhere"
    shutil.copytree(bundle.path(MLLM), folder)
    damage(folder)
    line = refusal(mllm=str(folder))
    assert line.startswith(f"there is no language model to load at {folder}: ")
    assert message in line


def test_a_name_that_no_file_can_have() -> None:
    assert refusal(mllm="a" * 5_000).startswith("there is no language model to load at aaa")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SSL_CERT_FILE", "/nowhere"), ("ALL_PROXY", "socks5://127.0.0.1:9")],
)
def test_certificates_and_proxies(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    line = refusal(mllm=UPSTREAM)
    assert line.startswith(f"{UPSTREAM} cannot be asked: ")
    assert variable in line


def test_a_key_of_the_upstream_that_is_none() -> None:
    line = refusal(mllm=UPSTREAM, upstream_key="caf\u00e9")
    assert line.startswith("COTAM_UPSTREAM_KEY holds a character")
    assert "caf" not in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"threads": 10**12}, "COTAM_THREADS is 1000000000000: "),
        ({"deadline_s": "inf"}, "COTAM_DEADLINE_S is 'inf': "),
        ({"drain_s": "nan"}, "COTAM_DRAIN_S is 'nan': "),
        ({"bundle": ",,"}, "COTAM_BUNDLE is (): "),
    ],
)
def test_numbers_that_nothing_can_do(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_settings(**flags)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("host", ["a" * 70, "no..where", "\u00e9" * 70])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(UsageError) as raised:
        run(load_settings(host=host, port=0))
    assert str(raised.value).startswith(f"COTAM_HOST is {host!r}, COTAM_PORT 0: ")


def test_a_collector_that_is_no_address() -> None:
    pytest.importorskip("opentelemetry.exporter")
    with pytest.raises(UsageError, match="COTAM_OTLP_ENDPOINT is 'collector:4318'"):
        Tracing.of(load_settings(otlp_endpoint="collector:4318"))


@pytest.mark.parametrize("names", ["tiny-joint", "tiny-joint,tiny"])
def test_a_bundle_without_a_language_model_gets_that_of_another(names: str) -> None:
    settings = load_settings(threads=1, bundle=names)
    engine = load_engine(settings, [open_bundle(place) for place in settings.bundle])
    engine.warm_up()
    model = engine.model()
    assert (model.id, model.view) == (embedded(DEFAULT).manifest.name, "adapter")
    assert len(model.bundles) == len(settings.bundle)


def test_a_bundle_of_another_tower_names_what_to_type(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(embedded("tiny-joint").root, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    fingerprint = manifest["tower"]["fingerprint"]
    manifest["tower"]["fingerprint"] = "7fff" * (len(fingerprint) // 4)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    line = refusal(bundle=str(folder))
    assert line.startswith("no language model is in tiny-joint")
    assert "--mllm" in line
