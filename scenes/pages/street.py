"""Print that hangs outdoors: road signs, shop fronts, posters."""

from __future__ import annotations

import numpy as np

from scenes.pages import words
from scenes.pages.canvas import Canvas, Colour
from scenes.sprites import luminance
from scenes.world import Question

WHITE: Colour = (250, 250, 250)


def road_sign(sheet: Canvas) -> list[Question]:
    """A direction sign: towns with their distances."""
    rng = sheet.rng
    board: Colour = ((0, 90, 160), (0, 105, 60), (250, 205, 40), (245, 245, 245))[
        int(rng.integers(4))
    ]
    ink: Colour = WHITE if luminance(board) < 140 else (18, 18, 20)
    rows = int(rng.integers(1, 4))
    size = min(sheet.between(16, 52), sheet.height / (1.7 * rows + 1.2), sheet.width / 10)
    body = sheet.style(size, "sans", "narrow", weight=600, colour=ink)
    edge = size * 0.18
    sheet.rect(0, 0, sheet.width, sheet.height, board)
    sheet.rect(
        edge,
        edge,
        sheet.width - edge,
        sheet.height - edge,
        None,
        ink,
        size * 0.4,
        max(1.0, size * 0.08),
    )
    questions = []
    gap = sheet.height / (rows + 0.35)
    for i, town in enumerate(words.some(rng, words.TOWNS, rows)):
        y = gap * (i + 0.72) + size * 0.3
        distance = str(int(rng.integers(2, 320)))
        room = sheet.width - 3.2 * size - body.length(distance)
        sheet.text(size * 0.8, y, town, sheet.fit(town, body, room))
        sheet.text(sheet.width - size * 0.8, y, distance, body, "rs")
        questions.append(Question("print", f"how far is it to {town}?", distance))
    return questions


def shop_front(sheet: Canvas) -> list[Question]:
    """A name over a window, opening hours on the door, an offer on the glass."""
    rng = sheet.rng
    wall, board = _colour(rng, 60, 200), _colour(rng, 20, 120)
    sheet.rect(0, 0, sheet.width, sheet.height, wall)
    brick = max(6.0, sheet.height / 28)
    darker: Colour = (int(wall[0] * 0.86), int(wall[1] * 0.86), int(wall[2] * 0.86))
    row, y = 0, 0.0
    while y < sheet.height:
        sheet.rule([(0, y), (sheet.width, y)], darker)
        x = brick * (row % 2)
        while x < sheet.width:
            sheet.rule([(x, y), (x, y + brick)], darker)
            x += 2 * brick
        y, row = y + brick, row + 1
    left, right = sheet.width * 0.06, sheet.width * 0.94
    top, foot = sheet.height * 0.08, sheet.height * 0.32
    sheet.rect(left, top, right, foot, board, darker)
    name = words.choice(rng, words.SHOPS)
    style = sheet.style(
        60, "display", "serif", "hand", "narrow", weight=700, colour=(252, 244, 220)
    )
    sheet.text(
        sheet.width / 2,
        (top + foot) / 2,
        name,
        sheet.fit(name, style.of(min(60, (foot - top) * 0.72)), (right - left) * 0.92),
        "mm",
    )
    window = (left, sheet.height * 0.38, sheet.width * 0.62, sheet.height * 0.94)
    door = (sheet.width * 0.67, sheet.height * 0.38, right, sheet.height)
    for x0, y0, x1, y1 in (window, door):
        sheet.rect(x0, y0, x1, y1, (58, 70, 78), (230, 230, 226), 0, max(2.0, sheet.height / 120))
    for i in range(3):
        shift = (window[2] - window[0]) * (0.2 + 0.25 * i)
        sheet.polygon(
            [
                (window[0] + shift, window[1] + 4),
                (window[0] + shift + 14, window[1] + 4),
                (window[0] + shift - 10, window[3] - 4),
                (window[0] + shift - 24, window[3] - 4),
            ],
            (70, 84, 92),
        )
    offer = f"{words.choice(rng, ('SALE', 'NEW', 'FRESH', 'TODAY'))} {int(rng.integers(2, 80))}%"
    style = sheet.style(48, "display", "narrow", "sans", weight=800, colour=(255, 225, 70))
    room = (window[2] - window[0]) * 0.8
    middle = (window[0] + window[2]) / 2
    sheet.text(
        middle,
        window[1] + (window[3] - window[1]) * 0.35,
        offer,
        sheet.fit(offer, style.of((window[3] - window[1]) * 0.25), room),
        "mm",
    )
    number = words.phone(rng)
    plain = sheet.style(sheet.height / 18, "sans", colour=WHITE)
    sheet.text(
        middle,
        window[1] + (window[3] - window[1]) * 0.75,
        number,
        sheet.fit(number, plain, room),
        "mm",
    )
    opens, closes = int(rng.integers(6, 11)), int(rng.integers(16, 23))
    card = sheet.style(sheet.height / 26, "sans", "narrow", "mono")
    x, y = (door[0] + door[2]) / 2, door[1] + (door[3] - door[1]) * 0.25
    wide = (door[2] - door[0]) * 0.84
    hours = f"{opens}:00-{closes}:00"
    lines = [(text, sheet.fit(text, card, wide * 0.9)) for text in ("OPEN", "Mon-Sat", hours)]
    sheet.rect(
        x - wide / 2, y - card.size * 1.2, x + wide / 2, y + card.leading * 2.5, (246, 242, 230)
    )
    for i, (text, line) in enumerate(lines):
        sheet.text(x, y + i * card.leading, text, line, "ms")
    return [
        Question("print", "what is the shop called?", name),
        Question("print", "what is the telephone number?", number),
        Question("print", "what are the opening hours?", hours),
    ]


def poster(sheet: Canvas) -> list[Question]:
    """An event: a large title, a day, a place, small print."""
    rng = sheet.rng
    ground, second = _colour(rng, 10, 245), _colour(rng, 10, 245)
    dark = luminance(ground) < 140
    ink: Colour = (250, 246, 236) if dark else (26, 24, 30)
    sheet.rect(0, 0, sheet.width, sheet.height, ground)
    blend: Colour = (
        (4 * ground[0] + second[0]) // 5,
        (4 * ground[1] + second[1]) // 5,
        (4 * ground[2] + second[2]) // 5,
    )
    for _ in range(int(rng.integers(1, 5))):
        sheet.disc(
            rng.uniform(0, sheet.width),
            rng.uniform(0, sheet.height),
            rng.uniform(0.1, 0.4) * sheet.width,
            blend,
        )
    margin = sheet.width * 0.07
    room = sheet.width - 2 * margin
    topic = words.choice(rng, words.TOPICS)
    size = min(60.0, sheet.width / 6, sheet.height / 6)
    title = sheet.style(
        sheet.between(max(14, size * 0.6), max(15, size)),
        "display",
        "narrow",
        "hand",
        "serif",
        weight=800,
        colour=ink,
    )
    y = margin
    for word in topic.upper().split() if rng.random() < 0.6 else [topic]:
        style = sheet.fit(word, title, room)
        y += style.size * 1.05
        sheet.text(margin, y, word, style)
    body = sheet.style(
        max(8.5, min(title.size * 0.4, sheet.height / 16)), "sans", "narrow", colour=ink
    )
    day, time = f"{words.choice(rng, words.DAYS)} {words.date(rng)}", words.clock(rng)
    town = words.choice(rng, words.TOWNS)
    hall = f"{town} {words.choice(rng, ('Hall', 'Theatre', 'Arena', 'Park'))}"
    y += body.leading * 0.6
    for text in (day, f"Doors {time}", hall, f"with {words.person(rng)}"):
        y += body.leading * 1.1
        sheet.text(margin, y, text, sheet.fit(text, body, room))
    price = f"{int(rng.integers(3, 60))}.{words.choice(rng, ('00', '50'))}"
    small = body.of(body.size * 0.75)
    foot = sheet.height - margin
    if foot - y > 4 * small.size:
        lines = sheet.wrap(words.prose(rng, 2), small, room)
        fits = max(0, min(len(lines), int((foot - y - 2.4 * body.size) / small.leading)))
        for i, text in enumerate(lines[:fits]):
            sheet.text(margin, foot - (fits - i) * small.leading, text, small)
        sheet.text(margin, foot, f"Tickets {price}", body.heavy())
    questions = [
        Question("print", "where is it?", hall),
        Question("print", "when do the doors open?", time),
    ]
    return [Question("print", "what is it about?", topic), *questions]


def _colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    r, g, b = (int(v) for v in rng.integers(low, high, 3))
    return r, g, b
