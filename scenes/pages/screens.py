"""What a screen shows: a program, a terminal, a chat, a slide."""

from __future__ import annotations

import numpy as np

from scenes.pages import words
from scenes.pages.canvas import Canvas, Colour, Style
from scenes.world import Question

LIGHT: tuple[Colour, Colour, Colour, Colour] = (
    (255, 255, 255),
    (240, 240, 243),
    (30, 30, 34),
    (0, 102, 204),
)
DARK: tuple[Colour, Colour, Colour, Colour] = (
    (30, 31, 36),
    (44, 46, 53),
    (222, 222, 226),
    (88, 166, 255),
)
"""Page, bars, print and accent of a theme."""


def program(sheet: Canvas) -> list[Question]:
    """A window: title bar, menu, a list at the side, settings with buttons."""
    rng = sheet.rng
    page, bar, ink, accent = LIGHT if rng.random() < 0.6 else DARK
    size = min(sheet.between(9, 17), sheet.height / 14, sheet.width / 22)
    body = sheet.style(size, "sans", colour=ink)
    sheet.rect(0, 0, sheet.width, sheet.height, page)
    title = f"{words.choice(rng, words.TOPICS)} - {words.choice(rng, words.COMPANIES)}"
    height = size * 2
    sheet.rect(0, 0, sheet.width, height, bar)
    for i, colour in enumerate(((255, 95, 86), (255, 189, 46), (39, 201, 63))):
        sheet.disc(size * (0.9 + 1.3 * i), height / 2, size * 0.4, colour)
    sheet.text(
        sheet.width / 2,
        height * 0.68,
        title,
        sheet.fit(title, body.heavy(600), sheet.width - size * 11),
        "ms",
    )
    x = size * 0.8
    for name in ("File", "Edit", "View", "Tools", "Window", "Help"):
        if x + body.length(name) > sheet.width - size:
            break
        x += sheet.text(x, height * 1.68, name, body) + size * 1.3
    sheet.rule([(0, height * 2), (sheet.width, height * 2)], bar)
    side = min(sheet.width * 0.34, size * 11)
    sheet.rect(0, height * 2, side, sheet.height, bar)
    y, chosen = height * 2, int(rng.integers(4))
    names = words.some(rng, words.TOPICS, 12)
    for i, name in enumerate(names):
        y += size * 1.8
        if y > sheet.height - size:
            break
        style = body
        if i == chosen:
            sheet.rect(
                size * 0.3,
                y - size * 1.25,
                side - size * 0.3,
                y + size * 0.5,
                accent,
                None,
                size * 0.3,
            )
            style = body.inked((255, 255, 255))
        sheet.text(size * 0.8, y, name, sheet.fit(name, style, side - size * 1.6))
    x, right = side + size * 1.2, sheet.width - size * 1.2
    y = height * 2 + size * 2.2
    head = sheet.fit(names[chosen], body.of(size * 1.5).heavy(), right - x)
    sheet.text(x, y, names[chosen], head)
    settings = [
        ("User", words.person(rng)),
        ("Server port", str(int(rng.integers(1024, 65535)))),
        (
            "Version",
            f"{int(rng.integers(1, 9))}.{int(rng.integers(0, 30))}.{int(rng.integers(0, 9))}",
        ),
        ("Last saved", words.clock(rng)),
        ("Folder", f"/home/{words.choice(rng, words.FIRST).lower()}"),
        ("Items", str(int(rng.integers(3, 9000)))),
    ]
    questions = [Question("print", "what is the title of the window?", title)]
    for name, value in settings:
        y += size * 2.1
        if y > sheet.height - size * 4:
            break
        sheet.text(x, y, name, body)
        left = x + max((right - x) * 0.42, body.length("Server port") + size * 0.6)
        sheet.rect(
            left, y - size * 1.35, right, y + size * 0.55, page, (150, 150, 156), size * 0.25
        )
        sheet.text(left + size * 0.5, y, value, sheet.fit(value, body, right - left - size))
        questions.append(Question("print", f"what is set for {name.lower()}?", value))
    y = sheet.height - size * 1.6
    sheet.rect(right - size * 5, y - size * 1.5, right, y + size * 0.7, accent, None, size * 0.4)
    sheet.text(right - size * 2.5, y, "Save", body.heavy(600).inked((255, 255, 255)), "ms")
    return questions[:4]


def terminal(sheet: Canvas) -> list[Question]:
    """Commands and what they answer."""
    rng = sheet.rng
    dark = bool(rng.random() < 0.8)
    paper: Colour = (14, 16, 20) if dark else (252, 252, 250)
    ink: Colour = (216, 218, 220) if dark else (30, 30, 32)
    green: Colour = (92, 214, 112) if dark else (20, 120, 40)
    blue: Colour = (104, 164, 255) if dark else (20, 70, 190)
    sheet.rect(0, 0, sheet.width, sheet.height, paper)
    size = min(sheet.between(9, 18), sheet.width / 20)
    body = sheet.style(size, "mono", colour=ink)
    user, host = words.choice(rng, words.FIRST).lower(), words.choice(rng, words.TOWNS).lower()
    y, margin = size * 1.6, size * 0.7
    files: list[Question] = []
    while y < sheet.height - size:
        prompt = f"{user}@{host}:~$"
        run = sheet.text(margin, y, prompt, body.inked(green).heavy())
        command = ("ls -l", "cat notes.txt", "make test", "df -h")[int(rng.integers(4))]
        sheet.text(margin + run + size * 0.6, y, command, body)
        y += body.leading
        for _ in range(int(rng.integers(2, 7))):
            if y > sheet.height - size * 0.5:
                break
            if command == "ls -l":
                size_text = str(int(10 ** rng.uniform(2, 6.5)))
                name = f"{_noun(rng)}{int(rng.integers(100))}.txt"
                sheet.text(margin + size * 4.8, y, size_text, body, "rs")
                sheet.text(margin + size * 5.6, y, words.clock(rng), body)
                sheet.text(margin + size * 9.3, y, name, body.inked(blue))
                files.append(Question("print", f"how many bytes has {name}?", size_text))
            else:
                text = _output(rng, command)
                sheet.text(margin, y, sheet.wrap(text, body, sheet.width - 2 * margin)[0], body)
            y += body.leading
    return [
        Question("print", "which user is logged in?", user),
        Question("print", "what is the host called?", host),
        *(files[:1]),
    ]


def _noun(rng: np.random.Generator) -> str:
    return words.choice(rng, words.TOPICS).split()[0].lower()


def _output(rng: np.random.Generator, command: str) -> str:
    """One line that a command prints."""
    if command == "make test":
        return f"{_noun(rng)} {int(rng.integers(2, 90))} passed in {rng.uniform(0.1, 9):.2f}s"
    if command == "df -h":
        disk = f"/dev/sd{words.choice(rng, 'abcd')}{int(rng.integers(1, 9))}"
        return f"{disk} {int(rng.integers(10, 900))}G {int(rng.integers(1, 100))}%"
    return words.sentence(rng)


def chat(sheet: Canvas) -> list[Question]:
    """The screen of a telephone: messages in bubbles, with times."""
    rng = sheet.rng
    dark = bool(rng.random() < 0.35)
    page, bar, ink, accent = DARK if dark else LIGHT
    sheet.rect(0, 0, sheet.width, sheet.height, page if dark else (236, 229, 221))
    size = min(sheet.between(9, 19), sheet.width / 15, sheet.height / 11)
    body = sheet.style(size, "sans", colour=ink)
    small = body.of(size * 0.78).inked((140, 140, 146))
    name = words.person(rng)
    sheet.rect(0, 0, sheet.width, size * 3.2, bar)
    sheet.disc(size * 1.8, size * 1.6, size * 1.1, accent)
    sheet.text(size * 3.5, size * 1.9, name, sheet.fit(name, body.heavy(), sheet.width - size * 9))
    time = words.clock(rng)
    sheet.text(sheet.width - size * 0.8, size * 1.9, time, body, "rs")
    y = size * 4
    first = ""
    while y < sheet.height - 3.2 * size:
        sent = bool(rng.random() < 0.5)
        text = words.sentence(rng)
        if rng.random() < 0.4:
            text = words.choice(
                rng, ("See you at ", "Call me at ", "Train leaves ", "I am back ")
            ) + words.clock(rng)
        lines = sheet.wrap(text, body, sheet.width * 0.66)
        high = len(lines) * body.leading + size * 1.7
        if y + high > sheet.height - size * 0.5:
            break
        wide = max(max(body.length(line) for line in lines), small.length("00:00")) + size * 1.4
        x = sheet.width - size * 0.7 - wide if sent else size * 0.7
        fill: Colour = (
            ((0, 92, 75) if dark else (217, 253, 211)) if sent else bar if dark else (255, 255, 255)
        )
        sheet.rect(x, y, x + wide, y + high, fill, None, size * 0.7)
        for i, line in enumerate(lines):
            sheet.text(x + size * 0.7, y + size * 1.25 + i * body.leading, line, body)
        sheet.text(x + wide - size * 0.6, y + high - size * 0.45, words.clock(rng), small, "rs")
        first = first or text
        y += high + size * 0.6
    return [
        Question("print", "who is this chat with?", name),
        Question("print", "what time does the telephone show?", time),
        *([Question("print", "what does the first message say?", first)] if first else []),
    ]


def slide(sheet: Canvas) -> list[Question]:
    """A slide of a talk: a title, points, a number at the foot."""
    rng = sheet.rng
    paper, ink, accent = (
        ((255, 255, 255), (34, 34, 40), (192, 57, 43)),
        ((248, 246, 240), (50, 44, 40), (30, 100, 140)),
        ((24, 34, 60), (240, 240, 244), (255, 190, 70)),
        ((20, 20, 22), (235, 235, 235), (90, 200, 160)),
    )[int(rng.integers(4))]
    sheet.rect(0, 0, sheet.width, sheet.height, paper)
    size = min(sheet.between(12, 34), sheet.height / 11, sheet.width / 17)
    body = sheet.style(size, "sans", "serif", colour=ink)
    margin = sheet.width * 0.06
    title = words.choice(rng, words.TOPICS)
    head = sheet.fit(title, body.of(size * 1.6).heavy().inked(accent), sheet.width - 2 * margin)
    y = margin + head.size
    sheet.text(margin, y, title, head)
    sheet.rect(margin, y + size * 0.45, margin + size * 4, y + size * 0.6, accent)
    y += size * 1.1
    points: list[str] = []
    while True:
        text = words.sentence(rng).rstrip(".")
        lines = sheet.wrap(text, body, sheet.width - 2 * margin - size)
        if y + (len(lines) + 0.6) * body.leading > sheet.height - 2.2 * size or len(points) == 5:
            break
        y += body.leading * 1.15
        sheet.disc(margin + size * 0.3, y - size * 0.33, size * 0.16, accent)
        for i, line in enumerate(lines):
            sheet.text(margin + size, y + i * body.leading, line, body)
        y += (len(lines) - 1) * body.leading
        points.append(text)
    number = str(int(rng.integers(2, 60)))
    small: Style = body.of(size * 0.6)
    sheet.text(sheet.width - margin, sheet.height - size * 0.7, number, small, "rs")
    speaker = words.person(rng)
    sheet.text(margin, sheet.height - size * 0.7, speaker, small)
    return [
        Question("print", "what is the title?", title),
        Question("print", "who is the speaker?", speaker),
        Question("print", "what is the number of the slide?", number),
    ]
