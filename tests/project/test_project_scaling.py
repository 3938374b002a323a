"""docs/scaling.md and the Kubernetes manifest say what the code does, and the sums are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_server.ray.settings import RaySettings, load_ray_settings
from cloud_server.settings import Settings
from shared.errors import UsageError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/scaling.md").read_text()
MANIFEST = yaml.safe_load((ROOT / "docker/ray/kuberay.yaml").read_text())
CLUSTER = MANIFEST["spec"]["rayClusterConfig"]
NUMBER = r"(\d[\d.]*(?:e\d+)?)"
SUM = re.compile(rf"^    {NUMBER}[^=]*? ([x/+]) {NUMBER}[^=]* = {NUMBER}\b", re.M)


def test_every_sum_is_right() -> None:
    sums = SUM.findall(TEXT)
    assert len(sums) == len(re.findall(r"^    .* = ", TEXT, re.M)) > 20
    for left, sign, right, result in sums:
        a, b = float(left), float(right)
        exact = {"x": a * b, "/": a / b, "+": a + b}[sign]
        assert float(result) == pytest.approx(exact, rel=0.03), f"{left} {sign} {right}"


def test_every_setting_of_the_scale_is_described() -> None:
    rows = re.findall(r"^\| `COTAM_RAY_(\w+)` \| `(.*?)` \| (.*?) \|$", TEXT, re.M)
    fields = RaySettings.model_fields
    assert [(name.lower(), default, meaning) for name, default, meaning in rows] == [
        (name, str(field.default), field.description) for name, field in fields.items()
    ]


def test_a_bad_scale_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAM_RAY_MAX_MODELS", "7")
    assert (load_ray_settings({}).max_models, load_ray_settings({"max_models": 2}).max_models) == (
        7,
        2,
    )
    with pytest.raises(UsageError, match="COTAM_RAY_INGRESS is 0"):
        load_ray_settings({"ingress": 0})
    with pytest.raises(UsageError, match="COTAM_RAY_REPLICAS"):
        load_ray_settings({"replicas": 3})


def test_the_manifest_serves_our_application() -> None:
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("ray.io/v1", "RayService")
    serve = yaml.safe_load(MANIFEST["spec"]["serveConfigV2"])
    (application,) = serve["applications"]
    assert application["import_path"] == "cloud_server.ray_app:build"
    scale = load_ray_settings(application["args"])
    assert scale.model_gpus == 1
    (gpu,) = CLUSTER["workerGroupSpecs"]
    start = gpu["rayStartParams"]
    cpus, gpus = int(start["num-cpus"]), int(start["num-gpus"])
    assert gpus * gpu["maxReplicas"] >= scale.max_models
    # Each replica asks for a core: the smallest cluster must hold the smallest application.
    assert scale.ingress + scale.min_decoders + scale.min_models <= cpus * gpu["minReplicas"]
    most = scale.ingress + scale.max_decoders + scale.max_models
    assert most <= cpus * gpu["maxReplicas"]
    limits = _pods()[1]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == start["num-gpus"]


def test_the_version_of_ray_is_the_pinned_one() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert f"ray=={CLUSTER['rayVersion']}\n" in pins


def test_pods_are_locked_and_their_environment_understood() -> None:
    names = {f"COTAM_{name.upper()}" for name in Settings.model_fields}
    for pod in _pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        container = pod["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        environment = {e["name"]: e.get("value") for e in container["env"]}
        variables = {k: v for k, v in environment.items() if k.startswith("COTAM_")}
        assert set(variables) <= names
        fields = {k.removeprefix("COTAM_").lower(): v for k, v in variables.items()}
        settings = Settings(**fields)
        # Several ingresses: what one of them keeps, the next does not have.
        assert (settings.images, settings.replays) == (0, 0)
        assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_s + 2 * settings.drain_s
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def _pods() -> list[dict[str, Any]]:
    groups = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]
