"""Questions that wait for an enhancement: how they are kept, and which cells they ask for."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_server.inference.image_store import ImageStore, Kept, OpenQuestion
from cloud_server.inference.mllm.base import VisualInput
from cloud_server.inference.need import (
    BYTES_A_CELL,
    FRAME_BYTES,
    MOST_CELLS,
    cells_wanted,
    most_cells,
)
from shared.errors import NotFound
from shared.layers.cells import Cells
from shared.level_map import LevelMap
from shared.schemas import ImageInfo


def test_open_questions_are_bounded_as_pictures_are() -> None:
    now = [0.0]
    store = ImageStore(most=2, most_bytes=1000, ttl_s=10.0, clock=lambda: now[0])
    image = ImageInfo(width=32, height=32, bytes=1, bpp=8.0, codec="00000000")
    cells = Cells(np.ones((2, 2), bool), 16)

    def put(size: int = 10) -> str:
        return store.put("me", OpenQuestion(bytes(size), image, "hm?", 4, cells))

    first, second = put(), put()
    with pytest.raises(NotFound):
        store.get("me", first)
    picture = store.put("me", Kept(VisualInput("picture", None, 900), image))
    for gone in (first, picture):
        with pytest.raises(NotFound):
            store.question("me", gone)
    store.improve("me", picture, Kept(VisualInput("picture", None, 950), image))
    assert store.get("me", picture).visual.size == 950
    item, left = store.take("me", picture) or (None, 0.0)
    assert (store.take("me", picture), store.has("me", picture), left) == (None, False, 10.0)
    assert isinstance(item, Kept)
    store.adopt("me", picture, item, left)
    store.improve("you", picture, Kept(VisualInput("picture", None, 1), image))
    assert store.get("me", picture).visual.size == 950
    put(2000)
    assert (len(store), store.bytes) == (0, 0)
    third = put()
    store.adopt("me", "img_old", item, 5.0)
    now[0] = 5.0
    assert not store.has("me", "img_old")
    now[0] = 10.0
    with pytest.raises(NotFound):
        store.question("me", third)
    with pytest.raises(NotFound):
        store.question("me", second)


def test_who_keeps_the_most_loses_the_oldest() -> None:
    """By number where there are too many, by bytes where these are: another's picture stays."""
    image = ImageInfo(width=32, height=32, bytes=1, bpp=8.0, codec="00000000")
    cells = Cells(np.ones((2, 2), bool), 16)
    store = ImageStore(most=4, most_bytes=1000, ttl_s=10.0)
    my_picture = store.put("me", Kept(VisualInput("picture", None, 900), image))
    your_questions = [store.put("you", OpenQuestion(b"", image, "hm?", 4, cells)) for _ in range(5)]
    assert [store.has("you", question_id) for question_id in your_questions] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert store.has("me", my_picture)
    other = store.put("you", Kept(VisualInput("picture", None, 80), image))
    assert store.has("me", my_picture)
    assert store.has("you", other)
    store.improve("you", other, Kept(VisualInput("picture", None, 990), image))
    assert (store.has("me", my_picture), store.has("you", other)) == (True, False)


def test_cells_are_those_of_the_map_where_it_looked() -> None:
    values = np.zeros((4, 5), np.uint8)
    values[1:3, 1:4] = 1
    level_map = LevelMap(values, 16, 2, 30)
    looked = np.zeros((4, 5), np.float32)
    looked[0, 0], looked[1, 2], looked[2, 3] = 0.9, 0.2, 0.1
    wanted = cells_wanted(80, 64, level_map, looked, 2)
    assert wanted is not None
    assert np.argwhere(wanted.chosen).tolist() == [[1, 2], [2, 3]]
    alone = cells_wanted(80, 64, None, looked, 2)
    assert alone is not None
    assert np.argwhere(alone.chosen).tolist() == [[0, 0], [1, 2]]
    whole = cells_wanted(80, 64, level_map, None)
    assert whole is not None
    assert whole.chosen[1:3, 1:4].all()
    assert cells_wanted(80, 64, None, None) is None
    assert most_cells(None) == MOST_CELLS == most_cells(1 << 20)
    assert most_cells(FRAME_BYTES + 2 * BYTES_A_CELL) == 2
    assert cells_wanted(80, 64, level_map, looked, 0) is None


def test_large_cells_of_a_map_cover_their_latents() -> None:
    values = np.array([[0, 1]], np.uint8)
    wanted = cells_wanted(128, 64, LevelMap(values, 64, 2, 30), None, 16)
    assert wanted is not None
    assert wanted.mask(128, 64)[:, 4:].all()
