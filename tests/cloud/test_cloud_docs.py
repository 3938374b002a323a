"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from cloud_server.app import create_app
from cloud_server.routes.openapi import document, page
from cloud_server.settings import Settings, default_of, load_settings
from shared.errors import CotamError

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_from_the_document() -> None:
    made = page(document(create_app(load_settings())))
    assert (DOCS / "api.md").read_text() == made, "run: cloud_server api > docs/api.md"


def test_every_setting_and_its_default_is_described() -> None:
    rows = re.findall(r"^\| `COTAM_(\w+)` \| (.*?) \| (.*?) \|$", _read("operations.md"), re.M)
    assert [name for name, _, _ in rows] == [name.upper() for name in Settings.model_fields]
    for name, default, meaning in rows:
        field = Settings.model_fields[name.lower()]
        assert meaning == field.description
        assert default.strip("`") == default_of(name.lower()), name


def test_every_error_in_the_threat_model_exists() -> None:
    answers = re.findall(r"^\|.*\| (\d.*) \|$", (DOCS.parent / "SECURITY.md").read_text(), re.M)
    codes = {code for answer in answers for code in re.findall(r"`([a-z_]+)`", answer)}
    assert codes - {"Retry-After"} <= {error.code for error in _tree(CotamError)}
    assert len(codes) > 10


def _read(name: str) -> str:
    return (DOCS / name).read_text()


def _tree(root: type[CotamError]) -> list[type[CotamError]]:
    return [root, *(e for child in root.__subclasses__() for e in _tree(child))]
