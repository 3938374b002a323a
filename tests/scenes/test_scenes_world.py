"""A scene is a pure function of its seed, and its mask, labels and caption say what was drawn."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes import (
    CHARACTERS,
    COLOURS,
    KINDS,
    SPLITS,
    WORDS,
    WORLDS,
    Backgrounds,
    Scene,
    render,
    sprites,
)
from scenes.captions import NUMBERS
from scenes.render import generator
from scenes.vocabulary import vocabulary
from scenes.world import PLURALS, RGB

# If one of these changes, every published number changes: a new version is what is wanted then.
FACTS = {
    (1, "train", 0): "1a8487bcaf6501e3",
    (1, "val", 7): "e4525c4c699842ff",
    (1, "test", 0): "8346f6acf7dab8fa",
    (1, "test", 123_456): "f8856862c25de92f",
    (2, "train-signs", 5): "f9538418fc3329aa",
    (2, "val", 7): "4d92967410cac25e",
    (2, "test", 0): "96fc1e23c5f26079",
    (2, "test", 123_456): "8aa8a6112fe5dee1",
}
SHADES = {
    (1, "test", 0): "190 189 144 139 190 189 190 189 167 167 166 166 104 104 104 104",
    (1, "test", 3): "51 56 56 54 51 56 94 61 51 51 58 52 51 61 93 98",
    (2, "test", 0): "164 121 108 102 135 167 175 157 158 136 141 137 136 167 141 147",
    (2, "test", 3): "126 127 127 128 126 127 126 127 118 118 118 118 114 114 113 114",
}


@dataclass(frozen=True)
class Question:
    """What the digests were taken of; whatever else a question names can be read off its prompt."""

    task: str
    prompt: str
    answer: str


def facts(scene: Scene) -> str:
    """A digest of everything that is true of a scene, boxes to the pixel."""
    questions = [Question(each.task, each.prompt, each.answer) for each in scene.questions]
    text = repr((scene.objects, scene.category, scene.caption, type(scene.questions)(questions)))
    # Centres of characters come from the font in fractions of a pixel.
    rounded = re.sub(r"\d+\.\d+", lambda number: str(round(float(number[0]))), text)
    return hashlib.sha256(rounded.encode()).hexdigest()[:16]


def shades(scene: Scene) -> list[int]:
    """Mean brightness of the sixteen blocks of a picture: stable under other resampling code."""
    grey = scene.picture.mean(axis=2).reshape(4, 64, 4, 64).mean(axis=(1, 3))
    return [round(float(value)) for value in grey.flat]


@pytest.mark.parametrize(("version", "split", "index"), FACTS)
def test_what_is_true_of_a_scene_never_changes(version: int, split: str, index: int) -> None:
    drawn = facts(render(split, index, Backgrounds(), version=version))
    assert drawn == FACTS[version, split, index]


@pytest.mark.parametrize(("version", "split", "index"), SHADES)
def test_how_a_scene_looks_never_changes(version: int, split: str, index: int) -> None:
    drawn = shades(render(split, index, Backgrounds(), version=version))
    frozen = [int(shade) for shade in SHADES[version, split, index].split()]
    assert drawn == pytest.approx(frozen, abs=2)


def test_a_scene_does_not_depend_on_what_was_drawn_before() -> None:
    backgrounds = Backgrounds.builtin()
    alone = render("test", 5, Backgrounds.builtin())
    for index in (9, 2, 5):
        again = render("test", index, backgrounds)
    assert np.array_equal(alone.picture, again.picture)
    assert np.array_equal(alone.mask, again.mask)
    assert facts(alone) == facts(again)


def test_no_two_scenes_share_their_random_numbers() -> None:
    first = {
        generator(split, index, version).integers(2**63)
        for version in WORLDS
        for split in SPLITS
        for index in range(500)
    }
    assert len(first) == 500 * len(SPLITS) * len(WORLDS)


def test_photographs_of_train_and_val_are_disjoint(tmp_path: Path) -> None:
    for number in range(64):
        Image.new("RGB", (8, 8)).save(tmp_path / f"photo{number}.png")
    parts = [Backgrounds.from_folder(tmp_path, part).paths for part in ("train", "val")]
    assert all(parts)
    assert not set(parts[0]) & set(parts[1])
    assert len(parts[0]) + len(parts[1]) == 64
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="val"):
        Backgrounds.from_folder(tmp_path / "none", "val")


@pytest.mark.parametrize(
    ("split", "index", "size", "version", "message"),
    [
        ("tset", 0, (256, 256), 1, "split"),
        ("test", -1, (256, 256), 1, "negative"),
        ("test", 0, (256, 63), 1, "64 pixels"),
        ("test", 0, (256, 256), 3, "versions 1, 2, not 3"),
    ],
)
def test_what_cannot_be_drawn(
    split: str, index: int, size: tuple[int, int], version: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        render(split, index, Backgrounds(), size, version)


def test_the_smallest_scenes_can_be_drawn(version: int) -> None:
    for index in range(60):
        assert render("test", index, Backgrounds(), (64, 64), version).objects


def test_version_2_draws_small_and_large_objects_that_show() -> None:
    world = WORLDS[2]
    sides, most, words = [], Counter[int](), set()
    for index in range(80):
        scene = render("test", index, Backgrounds(), version=2)
        most[max(Counter(o.kind for o in scene.objects).values())] += 1
        shown = np.bincount(scene.mask.ravel(), minlength=1 + len(scene.objects))[1:]
        for thing, pixels in zip(scene.objects, shown, strict=True):
            left, top, right, bottom = thing.box
            words.add(thing.text)
            if thing.kind != "sign":
                sides.append(max(right - left, bottom - top))
            if thing.kind == "square":  # a turned square fills more than half of its box
                assert pixels > world.least_visible * 0.5 * (right - left - 2) * (bottom - top - 2)
    assert 12 <= min(sides) < 16
    assert 80 < max(sides) <= 97
    assert set(most) >= {1, 4, 8}
    assert words & set(WORDS[24:])


@pytest.mark.parametrize("style", sprites.LETTERING)
def test_every_lettering_prints_where_it_says(style: str) -> None:
    image, characters = sprites.sign("H8", (38, 92, 218), 30.0, np.random.default_rng(0), (style,))
    ink = np.asarray(image.convert("RGB")).min(axis=2) > 150
    for character in characters:
        x, y = round(character.x), round(character.y)
        around = ink[y - 14 : y + 15, x - 9 : x + 10]
        assert 0.1 < around.mean() < 0.9
    assert characters[0].x < characters[1].x


@pytest.mark.parametrize("size", [(256, 256), (256, 160), (64, 200)])
def test_mask_and_boxes_agree(size: tuple[int, int], version: int) -> None:
    for index in range(12):
        scene = render("test", index, Backgrounds(), size, version)
        width, height = size
        assert scene.picture.shape == (height, width, 3)
        assert scene.picture.dtype == scene.mask.dtype == np.uint8
        assert scene.mask.shape == (height, width)
        assert scene.mask.max() <= len(scene.objects)
        for number, thing in enumerate(scene.objects, start=1):
            left, top, right, bottom = (int(side) for side in thing.box)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            outside = scene.mask == number
            outside[top:bottom, left:right] = False
            assert not outside.any()


def test_objects_have_the_colour_they_are_said_to_have() -> None:
    """Shapes are filled with one colour: most of what shows of them is near it."""
    seen = Counter()
    for index in range(40):
        scene = render("test", index, Backgrounds())
        for number, thing in enumerate(scene.objects, start=1):
            pixels = scene.picture[scene.mask == number]
            if thing.kind not in ("circle", "square", "triangle", "star") or len(pixels) < 200:
                continue
            middle = np.median(pixels, axis=0)
            distances = {name: np.abs(middle - rgb).sum() for name, rgb in RGB.items()}
            assert min(distances, key=distances.__getitem__) == thing.colour
            seen[thing.colour] += 1
    assert len(seen) == len(COLOURS)


def test_patch_labels_say_what_the_mask_says() -> None:
    for index in range(10):
        scene = render("test", index, Backgrounds(), (256, 192))
        labels = scene.patch_labels(16)
        assert {name: values.shape for name, values in labels.items()} == dict.fromkeys(
            ("kind", "colour", "centre", "character", "place", "second"), (12, 16)
        )
        for row in range(12):
            for column in range(16):
                patch = scene.mask[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                shares = np.bincount(patch.ravel(), minlength=1 + len(scene.objects))[1:]
                kind = colour = 0
                if shares.max() >= 0.2 * 256:
                    owner = scene.objects[int(shares.argmax())]
                    kind = 1 + KINDS.index(owner.kind)
                    colour = 1 + COLOURS.index(owner.colour)
                assert labels["kind"][row, column] == kind
                assert labels["colour"][row, column] == colour


def test_patch_shares_of_objects_sum_to_their_number() -> None:
    for index in range(10):
        scene = render("test", index, Backgrounds(), (256, 192))
        shares = scene.patch_shares(16)
        assert shares.shape == (len(scene.objects), 12, 16)
        assert shares.sum((1, 2)) == pytest.approx(1.0)
        blocks = scene.mask.reshape(12, 16, 16, 16)
        for number, share in enumerate(shares, start=1):
            visible = np.argwhere((blocks == number).any((1, 3)))
            assert np.array_equal(np.argwhere(share > 0), visible)


@pytest.fixture(scope="module")
def signs() -> list[Scene]:
    return [render("train-signs", index, Backgrounds()) for index in range(10)]


def test_patch_labels_spell_the_signs(signs: list[Scene]) -> None:
    read = 0
    for scene in signs:
        labels = scene.patch_labels(16)
        for thing in scene.objects:
            for place, character in enumerate(thing.characters, start=1):
                row, column = int(character.y // 16), int(character.x // 16)
                if not (0 <= row < 16 and 0 <= column < 16):
                    continue
                number = 1 + CHARACTERS.index(character.name)
                first = labels["character"][row, column], labels["place"][row, column]
                second = labels["second"][row, column], labels["place"][row, column] + 1
                read += (number, place) in (first, second)
                assert labels["character"][row, column] > 0
        for name in ("place", "second"):
            assert not labels[name][labels["character"] == 0].any()
    assert read >= 0.9 * sum(len(o.text) for scene in signs for o in scene.objects)


def test_the_split_for_reading_holds_nothing_but_signs(signs: list[Scene]) -> None:
    kinds = {thing.kind for scene in signs for thing in scene.objects}
    assert kinds == {"sign"}
    assert sum(len(scene.objects) for scene in signs) > 3 * len(signs)


def test_signs_spell_their_text(many: list[Scene]) -> None:
    signs = [thing for scene in many for thing in scene.objects if thing.text]
    assert len(signs) > 100
    for sign in signs:
        assert sign.kind == "sign"
        assert "".join(c.name for c in sign.characters) == sign.text.upper()
        left, top, right, bottom = sign.box
        places = [(c.x, c.y) for c in sign.characters]
        assert all(left < x < right and top < y < bottom for x, y in places)
        assert places == sorted(places)


def test_captions_count_what_is_there(many: list[Scene]) -> None:
    singular = {plural: kind for kind, plural in PLURALS.items()}
    pattern = rf"\b(an?|{'|'.join(NUMBERS)}) ({'|'.join(COLOURS)}) ([a-z]+)"
    for scene in many:
        said: Counter[tuple[str, str]] = Counter()
        for number, colour, noun in re.findall(pattern, scene.caption):
            count = NUMBERS.index(number) if number in NUMBERS else 1
            said[colour, singular.get(noun, noun)] += count
        assert said == Counter((o.colour, o.kind) for o in scene.objects)
        assert all(o.text in scene.caption for o in scene.objects)


def test_the_vocabulary_holds_every_word_but_those_on_signs(many: list[Scene]) -> None:
    known = set(vocabulary())
    for scene in many:
        texts = {o.text for o in scene.objects}
        sentences = [scene.caption, *(q.prompt for q in scene.questions)]
        sentences += [q.answer for q in scene.questions]
        words = {word for text in sentences for word in re.findall("[a-z]+", text)}
        assert words <= known | texts
