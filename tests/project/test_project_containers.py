"""The container files keep their promises without an engine: parsed, not built."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
INSTRUCTIONS = {
    *("ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    *("EXPOSE", "STOPSIGNAL", "COMMENT"),
}
SERVICE_KEYS = {
    *("build", "image", "ports", "environment", "read_only", "tmpfs", "security_opt", "restart"),
    *("stop_grace_period", "profiles", "volumes", "depends_on"),
}


def instructions(path: Path) -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
    return [(item["instruction"], item["value"]) for item in parser.structure]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_dockerfile(path: Path) -> None:
    found = instructions(path)
    names = [name for name, _ in found]
    assert set(names) <= INSTRUCTIONS
    assert ("ARG", "BASE=python:3.11-slim") in found
    assert names.count("USER") == 1, "it must not run as root"
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "HEALTHCHECK" in names
    for name, value in found:
        if name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(value), list), "the exec form passes signals on"
        if name == "COPY":
            source = value.split()[:-1]
            assert all((ROOT / part).exists() for part in source)
        if name == "RUN":
            assert "apt-get" not in value or "rm -rf /var/lib/apt/lists" in value


def test_the_edge_image_has_no_extra() -> None:
    run = " ".join(v for n, v in instructions(ROOT / "docker/edge.Dockerfile") if n == "RUN")
    assert re.search(r"pip install -c constraints.txt \.(\s|$)", run)


def test_compose_file() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(compose) == {"services"}
    for service in compose["services"].values():
        assert set(service) <= SERVICE_KEYS
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        for needed in service.get("depends_on", {}):
            assert needed in compose["services"]
    cloud = compose["services"]["cloud"]
    assert "profiles" not in cloud, "docker compose up starts it"
    assert cloud["ports"] == ["8000:8000"]
    assert cloud["read_only"] is True
