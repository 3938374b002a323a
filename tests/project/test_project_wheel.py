"""What a user installs: the wheel, built offline, and looked into."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
import tomllib

from shared.bundle import embedded

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLED = {"cloud_server", "edge_client", "shared", "training"}
CAME_LATER = {"plugins"}
"""In the wheel from the day that the folder is there."""
CHECKOUT_ONLY = ("evaluation", "examples", "scenes", "tests")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in the wheel, built of a copy so that a checkout stays clean."""
    copy = tmp_path_factory.mktemp("project")
    left_out = shutil.ignore_patterns("__pycache__", "node_modules")
    for part in sorted({*INSTALLED, *CAME_LATER, *CHECKOUT_ONLY}):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=left_out)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    build = "import sys; from setuptools.build_meta import build_wheel as b; print(b(sys.argv[1]))"
    out = copy / "dist"
    command = [sys.executable, "-W", "ignore", "-c", build, str(out)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    assert wheel.name == f"cotam-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_packages_are_these_and_no_others(names: list[str]) -> None:
    top = {PurePosixPath(name).parts[0] for name in names}
    here = {part for part in CAME_LATER if (ROOT / part).is_dir()}
    assert top == {*INSTALLED, *here, f"cotam-{PROJECT['version']}.dist-info"}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in INSTALLED | here
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == wanted
    assert {f"{package}/py.typed" for package in INSTALLED | here} <= set(names)


def test_bundles_are_whole_and_the_variant_is_left_out(names: list[str]) -> None:
    shipped = {name for name in names if name.startswith("shared/bundles/")}
    assert shipped == {
        f"shared/bundles/{name}/{file}"
        for name in ("tiny", "tiny-0.1.0")
        for file in ("manifest.json", *embedded(name).manifest.files)
    }


def test_what_is_no_python_is_there(names: list[str]) -> None:
    page = ROOT / "cloud_server/playground/static"
    assert {f"cloud_server/playground/static/{f.name}" for f in page.iterdir()} <= set(names)
    assert "training/small_models/clip_tiny.json" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_training_on_photographs_needs_no_scenes() -> None:
    """Modules that draw scenes or pages are the small models and these; all others go without."""
    program = """if True:
        import importlib, pkgutil, sys, warnings
        warnings.simplefilter("ignore")
        sys.modules["scenes"] = None
        import training
        for module in pkgutil.walk_packages(training.__path__, "training."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name == "scenes", error
                print(module.name)
    """
    completed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    drawing = [n for n in completed.stdout.split() if not n.startswith("training.small_models.")]
    assert drawing == [
        "training.bundle.focus",
        "training.bundle.map_gain",
        "training.bundle.print_map",
        "training.codec.print_map",
        "training.loop.world",
    ]


def test_training_on_scenes_says_where_they_are() -> None:
    program = """if True:
        import sys
        sys.modules["scenes"] = None
        sys.argv = ["training", "clip", "--help"]
        from training.__main__ import main
        main()
    """
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 2
    assert completed.stderr.count("\n") == 1
    assert "Scenes, which comes with a checkout" in completed.stderr
