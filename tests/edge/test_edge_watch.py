"""A watched folder: every version of a file once, when it is whole. Pauses are turns of ours."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_client.pictures.watch import new_pictures
from shared.errors import UsageError

Turn = Callable[[], object]


@pytest.fixture
def shots(draw: Callable[..., np.ndarray]) -> list[bytes]:
    """Three JPEGs of 64x48, all different."""
    files = [io.BytesIO() for _ in range(3)]
    for seed, file in enumerate(files):
        Image.fromarray(draw(64, 48, seed)).save(file, "JPEG")
    return [file.getvalue() for file in files]


def seen(folder: Path, turns: list[Turn], patience: int = 99) -> Iterator[tuple[str, bytes]]:
    """What comes while the turns are taken."""
    supply = iter(turns)

    def end() -> None:
        raise KeyboardInterrupt

    try:
        for path, data in new_pictures(folder, lambda: next(supply, end)(), patience):
            yield path.name, data
    except KeyboardInterrupt:
        return


def nothing() -> None:
    """A pause in which nothing happens."""


def test_each_new_picture_once_and_those_that_come_back(tmp_path: Path, shots: list[bytes]) -> None:
    (tmp_path / "old.jpg").write_bytes(shots[0])
    (tmp_path / "sub").mkdir()
    new = tmp_path / "new.jpg"
    turns: list[Turn] = [
        nothing,
        lambda: new.write_bytes(shots[0]),
        nothing,
        lambda: (tmp_path / "sub" / "b.jpg").write_bytes(shots[1]),
        new.unlink,
        lambda: new.write_bytes(shots[0]),
        nothing,
    ]
    wanted = [("new.jpg", shots[0]), ("b.jpg", shots[1]), ("new.jpg", shots[0])]
    assert list(seen(tmp_path, turns)) == wanted


def test_every_version_of_a_file_that_is_written_over(tmp_path: Path, shots: list[bytes]) -> None:
    latest = tmp_path / "latest.jpg"
    latest.write_bytes(b"from before")
    turns: list[Turn] = [lambda shot=shot: latest.write_bytes(shot) for shot in shots]
    assert list(seen(tmp_path, [*turns, nothing])) == [("latest.jpg", shot) for shot in shots]


def test_every_version_of_a_file_that_is_replaced(
    tmp_path: Path, draw: Callable[..., np.ndarray]
) -> None:
    latest, beside = tmp_path / "latest.bmp", tmp_path / ".new"

    def replace(data: bytes) -> None:
        beside.write_bytes(data)
        os.utime(beside, ns=(1, 1))  # of one size and one time: only the file is another
        beside.replace(latest)

    files = [io.BytesIO() for _ in range(3)]
    for seed, file in enumerate(files):
        Image.fromarray(draw(16, 16, seed)).save(file, "BMP")
    turns: list[Turn] = [lambda file=file: replace(file.getvalue()) for file in files]
    wanted = [("latest.bmp", file.getvalue()) for file in files]
    assert list(seen(tmp_path, [*turns, nothing])) == wanted


def test_a_writer_that_pauses(tmp_path: Path, shots: list[bytes]) -> None:
    new, half = tmp_path / "new.jpg", len(shots[0]) // 2
    turns: list[Turn] = [
        lambda: new.write_bytes(shots[0][:half]),
        *[nothing] * 5,
        lambda: new.write_bytes(shots[0]),
        *[nothing] * 5,
    ]
    assert list(seen(tmp_path, turns)) == [("new.jpg", shots[0])]


def test_what_stays_broken_comes_in_the_end_and_so_does_its_mended_version(
    tmp_path: Path, shots: list[bytes]
) -> None:
    new = tmp_path / "new.jpg"
    turns: list[Turn] = [lambda: new.write_bytes(shots[0][:-99]), *[nothing] * 5]
    turns += [lambda: new.write_bytes(shots[0]), nothing]
    wanted = [("new.jpg", shots[0][:-99]), ("new.jpg", shots[0])]
    assert list(seen(tmp_path, turns, patience=3)) == wanted


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder to watch"):
        next(new_pictures(tmp_path / "nowhere"))
