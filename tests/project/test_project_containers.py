"""The container files keep their promises without an engine: parsed, not built."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from prometheus_client.parser import text_string_to_metric_families

from cloud_server.service import Service
from cloud_server.settings import Settings, load_settings
from shared.errors import CotamError

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.rglob("*.Dockerfile"))
OURS = [path for path in DOCKERFILES if path.parent.name in ("docker", "ray")]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
INSTRUCTIONS = {
    *("ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    *("EXPOSE", "STOPSIGNAL", "COMMENT"),
}
SERVICE_KEYS = {
    *("build", "image", "user", "command", "ports", "environment", "read_only", "tmpfs"),
    *("security_opt", "cap_drop", "restart", "stop_grace_period", "profiles", "volumes"),
    *("depends_on", "healthcheck", "shm_size", "deploy"),
}
PROFILES = {"edge", "tls", "monitoring", "vllm", "ray"}


def instructions(path: Path) -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
    return [(item["instruction"], item["value"]) for item in parser.structure]


def seconds(text: str) -> float:
    """Seconds of a compose duration."""
    (number, unit) = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return float(number) * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_dockerfile(path: Path) -> None:
    parsed = instructions(path)
    names = [name for name, _ in parsed]
    assert set(names) <= INSTRUCTIONS
    assert names.count("USER") == 1, "it must not run as root"
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert "HEALTHCHECK" in names
    assert "STOPSIGNAL" in names or path.name == "edge.Dockerfile"
    for name, value in parsed:
        if name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(value), list), "the exec form passes signals on"
        if name == "COPY":
            *source, _ = value.split()
            # What an earlier stage made is not in the repository.
            assert source[0] == "--from=build" or all((ROOT / part).exists() for part in source)
        if name == "RUN":
            assert "apt-get" not in value or "rm -rf /var/lib/apt/lists" in value


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.name)
def test_our_images_stand_on_any_base(path: Path) -> None:
    assert ("ARG", "BASE=python:3.11-slim") in instructions(path)


def test_the_edge_image_has_no_extra() -> None:
    run = " ".join(v for n, v in instructions(ROOT / "docker/edge.Dockerfile") if n == "RUN")
    assert re.search(r"pip install -c constraints.txt \.(\s|$)", run)


def test_the_images_of_the_service_copy_the_same() -> None:
    """The Ray image is the cloud image with one more extra: what is copied must not drift."""
    cloud, ray = (
        [v for n, v in instructions(path) if n == "COPY"]
        for path in (DOCKER / "cloud.Dockerfile", DOCKER / "ray/ray.Dockerfile")
    )
    assert cloud == ray


def test_compose_up_starts_the_service_alone() -> None:
    assert set(COMPOSE) == {"services", "volumes"}
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["cloud"]
    assert {p for service in SERVICES.values() for p in service.get("profiles", [])} == PROFILES
    cloud = SERVICES["cloud"]
    assert cloud["ports"] == ["8000:8000"]
    published = [ports.split(":")[-2] for s in SERVICES.values() for ports in s.get("ports", [])]
    assert len(published) == len(set(published)), "two profiles may run beside each other"


@pytest.mark.parametrize("name", SERVICES)
def test_compose_service(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= SERVICE_KEYS
    checked = "healthcheck" in service
    if "build" in service:
        dockerfile = ROOT / service["build"]["dockerfile"]
        assert dockerfile.is_file()
        checked = True  # test_dockerfile has seen its HEALTHCHECK and its USER
    else:
        assert ":" in service["image"], "another's image is pinned"
        assert not service["user"].startswith("0"), "it must not run as root"
    assert checked
    for needed in service.get("depends_on", {}):
        assert needed in SERVICES
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    if name != "edge":
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["cloud", "cloud-vllm", "ray"])
def test_a_container_has_longer_to_stop_than_the_service_to_drain(name: str) -> None:
    environment = SERVICES[name]["environment"]
    given = {k.removeprefix("COTAM_").lower(): v for k, v in environment.items()}
    settings = Settings(**{k: v for k, v in given.items() if k in Settings.model_fields})
    grace = seconds(SERVICES[name]["stop_grace_period"])
    # Ray stops its replicas after the drain, each with as long again.
    drains = 2 if name == "ray" else 1
    assert grace > settings.drain_delay_s + drains * settings.drain_s


@pytest.mark.parametrize("name", ["cloud", "cloud-vllm"])
def test_the_environment_of_a_service_is_understood(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        assert variable.removeprefix("COTAM_").lower() in Settings.model_fields
        monkeypatch.setenv(variable, value)
    assert load_settings().port == 8000


def exported() -> set[str]:
    """Names of the samples that a service exports, histograms with their parts."""
    service = Service(load_settings())
    service.metrics.failed("overloaded")
    names = set()
    for family in text_string_to_metric_families(service.metrics.render().decode()):
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def asked(expression: str) -> set[str]:
    """Metrics that a Prometheus expression names; label names and values left out."""
    bare = re.sub(r"\{[^}]*\}|by \([^)]*\)|\[[^\]]*\]", "", expression)
    return set(re.findall(r"\b(?:cotam|process)_[a-z_]+", bare))


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((DOCKER / "grafana/dashboards/cotam.json").read_text())
    expressions = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    names = {name for expression in expressions for name in asked(expression)}
    assert all(asked(expression) for expression in expressions)
    assert names <= exported()
    kinds = ("requests_total", "request_seconds_bucket", "step_seconds_sum", "batch_size_sum")
    assert {f"cotam_{kind}" for kind in kinds} <= names
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(places) == len(set(places))


def test_the_dashboard_finds_its_source() -> None:
    board = json.loads((DOCKER / "grafana/dashboards/cotam.json").read_text())
    folder = DOCKER / "grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((folder / "dashboards/cotam.yml").read_text())["providers"][0]
    mounts = [volume.split(":") for volume in SERVICES["grafana"]["volumes"]]
    assert ["./docker/grafana/dashboards", provider["options"]["path"], "ro"] in mounts


def test_alarms_ask_for_metrics_and_codes_that_exist() -> None:
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    codes = {error.code for error in tree(CotamError)}
    for rule in rules:
        assert asked(rule["expr"])
        assert asked(rule["expr"]) <= exported()
        assert set(re.findall(r'code="(\w+)"', rule["expr"])) <= codes


def test_prometheus_watches_the_service() -> None:
    config = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
    targets = [t for job in config["scrape_configs"] for t in job["static_configs"][0]["targets"]]
    assert targets == ["cloud:8000"]
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]


def test_the_proxy_lets_through_what_the_service_takes() -> None:
    text = (DOCKER / "proxy/Caddyfile").read_text()
    assert text.count("{") == text.count("}")
    (limit,) = re.findall(r"max_size (\d+)MB", text)
    # base64 makes 4 bytes of 3.
    assert int(limit) * 10**6 > load_settings().max_body_bytes * 4 / 3 + (1 << 16)
    (patience,) = re.findall(r"response_header_timeout (\d+)s", text)
    assert int(patience) > load_settings().deadline_s
    assert "flush_interval -1" in text
    port = SERVICES["proxy"]["ports"][0].split(":")[1]
    assert f"https_port {port}" in text


def tree(root: type[CotamError]) -> list[type[CotamError]]:
    return [root, *(e for child in root.__subclasses__() for e in tree(child))]
