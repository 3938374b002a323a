"""vLLM's plug-in where there is no vLLM; `make vllm-check` tries it in a real one."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from types import ModuleType

import pytest

from plugins import vllm


def test_the_entry_point_is_the_plugin() -> None:
    (entry,) = entry_points(group="vllm.general_plugins", name="cotam")
    assert entry.load() is vllm.register


def test_a_vllm_without_the_list_runs_on_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = ModuleType("vllm.multimodal.image")
    monkeypatch.setitem(sys.modules, "vllm.multimodal.image", other)
    with caplog.at_level(logging.WARNING):
        vllm.register()
    (line,) = caplog.messages
    assert "does not take CoTAM streams (seen to work with 0.32.0)" in line


def test_the_list_gains_the_format_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = ModuleType("vllm.multimodal.image")
    image.ALLOWED_IMAGE_FORMATS = ("PNG",)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.multimodal.image", image)
    vllm.register()
    vllm.register()
    assert image.ALLOWED_IMAGE_FORMATS == ("PNG", "COTAM")
