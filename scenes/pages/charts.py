"""Charts: bars, lines and pies, with their numbers printed."""

from __future__ import annotations

import math

from scenes.pages import words
from scenes.pages.canvas import Canvas, Colour, Style
from scenes.world import Question

GRID: Colour = (222, 222, 226)
AXIS: Colour = (90, 90, 96)
PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75)),
    ((38, 70, 83), (42, 157, 143), (233, 196, 106), (244, 162, 97), (231, 111, 81), (120, 90, 160)),
    ((66, 133, 244), (219, 68, 55), (244, 180, 0), (15, 157, 88), (171, 71, 188), (0, 172, 193)),
)


def bars(sheet: Canvas) -> list[Question]:
    """A bar chart with its values printed on the bars."""
    rng = sheet.rng
    body, title, box = _frame(sheet)
    left, top, right, bottom = box
    count = max(2, min(7, int((right - left) / (body.size * 4.2))))
    names = words.some(rng, words.REGIONS if rng.random() < 0.5 else words.MONTHS, count)
    values = [int(v) for v in rng.integers(12, 99, count)]
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    _scale(sheet, body, box, 100)
    step = (right - left) / count
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        x, y = left + (i + 0.5) * step, bottom - (bottom - top) * value / 100
        sheet.rect(x - step * 0.32, y, x + step * 0.32, bottom, palette[i % 6])
        sheet.text(x, y - body.size * 0.3, str(value), body, "ms")
        sheet.text(x, bottom + body.size * 1.2, name, sheet.fit(name, body, step * 0.96), "ms")
    sheet.rule([(left, bottom), (right, bottom)], AXIS)
    chosen = int(rng.integers(count))
    return [
        Question("print", "what is the title?", title),
        Question("print", f"what is the value of {names[chosen]}?", str(values[chosen])),
        Question("chart", "which bar is the tallest?", names[values.index(max(values))])
        if values.count(max(values)) == 1
        else Question("print", f"what is the value of {names[0]}?", str(values[0])),
    ]


def curves(sheet: Canvas) -> list[Question]:
    """A line chart of one to three series over years, with a legend."""
    rng = sheet.rng
    body, title, box = _frame(sheet)
    left, top, right, bottom = box
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    series = words.some(rng, words.REGIONS, int(rng.integers(1, 4)))
    ticks = max(2, min(7, int((right - left) / (body.size * 3.4))))
    start = int(rng.integers(1990, 2015))
    _scale(sheet, body, box, int(rng.choice([50, 100, 200, 500])))
    for i in range(ticks):
        x = left + (right - left) * (i + 0.5) / ticks
        sheet.rule([(x, top), (x, bottom)], GRID)
        sheet.text(x, bottom + body.size * 1.2, str(start + i), body, "ms")
    legend = left
    for i, name in enumerate(series):
        level = rng.uniform(0.2, 0.8)
        points = []
        for j in range(ticks * 4 + 1):
            level = min(max(level + rng.normal(0, 0.07), 0.04), 0.96)
            points.append(
                (left + (right - left) * j / (ticks * 4), bottom - (bottom - top) * level)
            )
        sheet.rule(points, palette[i], max(1.5, body.size / 8))
        y = top - body.size * 0.7
        if legend + body.size * 2 + body.length(name) < right:
            sheet.rule(
                [(legend, y - body.size * 0.3), (legend + body.size * 1.2, y - body.size * 0.3)],
                palette[i],
                max(2.0, body.size / 6),
            )
            sheet.text(legend + body.size * 1.5, y, name, body)
            legend += body.size * 3 + body.length(name)
    sheet.rule([(left, top), (left, bottom), (right, bottom)], AXIS)
    return [
        Question("print", "what is the title?", title),
        Question("print", "which year comes first?", str(start)),
        Question("print", "which year comes last?", str(start + ticks - 1)),
    ]


def pie(sheet: Canvas) -> list[Question]:
    """A pie with a legend of names and shares."""
    rng = sheet.rng
    size = min(sheet.between(9, 20), sheet.height / 12, sheet.width / 18)
    body = sheet.style(size, "sans", "narrow")
    group = words.choice(rng, ("source", "type", "group", "channel"))
    title = f"Share by {group}, {int(rng.integers(2000, 2027))}"
    head = sheet.fit(title, body.of(size * 1.4).heavy(), sheet.width * 0.94)
    y = size + head.size
    sheet.text(sheet.width / 2, y, title, head, "ms")
    count = int(rng.integers(3, 7))
    weights = rng.uniform(1, 5, count)
    shares = [max(1, round(100 * w / weights.sum())) for w in weights]
    shares[0] += 100 - sum(shares)
    names = words.some(rng, words.SHARES, count)
    palette = PALETTES[int(rng.integers(len(PALETTES)))]
    room = sheet.height - y - size
    radius = min(room / 2, sheet.width * 0.26) * 0.92
    cx, cy = size + radius, y + size * 0.5 + room / 2
    angle = -90.0
    inside = body.heavy().inked((252, 252, 252))
    for share, colour in zip(shares, palette, strict=False):
        sheet.slice(cx, cy, radius, angle, angle + 3.6 * share, colour)
        middle = math.radians(angle + 1.8 * share)
        if share > 11 and radius > 3.4 * size:
            x, mid = cx + 0.65 * radius * math.cos(middle), cy + 0.65 * radius * math.sin(middle)
            sheet.text(x, mid, f"{share}%", inside, "mm")
        angle += 3.6 * share
    step = min(body.leading * 1.4, room / count)
    x = cx + radius + size * 1.5
    y = cy - step * (count - 1) / 2 + size * 0.35
    width = sheet.width - x - size * 2
    for name, share, colour in zip(names, shares, palette, strict=False):
        sheet.rect(x, y - size * 0.8, x + size * 0.9, y + size * 0.1, colour)
        text = f"{name} {share}%"
        sheet.text(x + size * 1.4, y, text, sheet.fit(text, body, width))
        y += step
    chosen = int(rng.integers(count))
    return [
        Question("print", "what is the title?", title),
        Question("print", f"what share has {names[chosen]}?", f"{shares[chosen]}%"),
    ]


def _frame(sheet: Canvas) -> tuple[Style, str, tuple[float, float, float, float]]:
    """Prints a title; returns the style of the rest, the title, and where the chart goes."""
    rng = sheet.rng
    size = min(sheet.between(8.5, 18), sheet.height / 12, sheet.width / 16)
    body = sheet.style(size, "sans", "narrow", "serif")
    title = f"{words.choice(rng, words.MEASURES)} in {words.choice(rng, words.TOWNS)}"
    head = sheet.fit(title, body.of(size * 1.5).heavy(), sheet.width * 0.92)
    sheet.text(sheet.width / 2, size * 0.8 + head.size, title, head, "ms")
    top = size * 3.4 + head.size
    return body, title, (size * 3.2, top, sheet.width - size * 1.2, sheet.height - size * 2.2)


def _scale(
    sheet: Canvas, body: Style, box: tuple[float, float, float, float], highest: int
) -> None:
    """The vertical axis: numbers and grid lines."""
    left, top, right, bottom = box
    steps = 5 if bottom - top > 9 * body.size else 2
    for i in range(steps + 1):
        y = bottom - (bottom - top) * i / steps
        sheet.rule([(left, y), (right, y)], GRID)
        sheet.text(left - body.size * 0.4, y, str(highest * i // steps), body, "rm")
