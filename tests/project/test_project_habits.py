"""Changelog, version, citation, workflow and hooks agree with one another and with the code."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import tomllib
import yaml

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def releases() -> list[tuple[str, str]]:
    """Version and date of each release, the newest first."""
    return re.findall(r"^## (\d+\.\d+\.\d+) - (\S+)$", CHANGELOG, re.M)


def test_the_newest_release_is_the_version() -> None:
    (version, day), *_ = releases()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version == PYPROJECT["project"]["version"] == citation["version"]
    assert date.fromisoformat(day) == citation["date-released"]


def test_the_changelog_has_the_sections_that_readers_expect() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.M)
    assert headings == ["Unreleased", *(" - ".join(release) for release in releases())]
    days = [day for _, day in releases()]
    assert days == sorted(days, reverse=True)
    for part in CHANGELOG.split("\n## ")[1:]:
        sections = re.findall(r"^### (.+)$", part, re.M)
        assert sections == [name for name in SECTIONS if name in sections], "each once, in order"
        assert not re.search(r"^- ", part.split("\n### ")[0], re.M), "a line belongs to a section"


def test_the_workflow_tests_the_pythons_that_we_name() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    matrix = jobs["edge"]["strategy"]["matrix"]
    assert matrix["python"] == named
    assert PYPROJECT["project"]["requires-python"] == f">={named[0]}"
    assert {system.split("-")[0] for system in matrix["system"]} == {"ubuntu", "macos", "windows"}
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    extras = {extra for command in commands for extra in re.findall(r"\.\[(\w+)\]", command)}
    assert extras <= set(PYPROJECT["project"]["optional-dependencies"])
    targets = {t for command in commands for t in re.findall(r"^make (\w+)", command)}
    folders = {f for command in commands for f in re.findall(r" (tests/\w+)", command)}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert ".ci/run" in commands


def test_ci_runs_what_developers_run() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert script.rstrip().endswith("exec make test")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_hooks_run_the_tools_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in config["repos"]] == ["local"], (
        "pinned once, in constraints.txt"
    )
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == {".venv/bin/ruff", "make"}


def test_how_long_things_take_names_targets_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make ([a-z-]+)`", page))
    assert len(targets) > 5
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
