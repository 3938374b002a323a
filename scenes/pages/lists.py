"""Paper with rows: a receipt, a table, a timetable."""

from __future__ import annotations

from scenes.pages import words
from scenes.pages.canvas import Canvas, Colour
from scenes.world import Question

RULE: Colour = (165, 165, 172)


def receipt(sheet: Canvas) -> list[Question]:
    """What a till prints."""
    rng = sheet.rng
    size = min(sheet.between(8.5, 20), sheet.width / 15, sheet.height / 17)
    body = sheet.style(size, "mono", "narrow", "mono", "sans", colour=(48, 46, 52))
    margin, right = size * 0.9, sheet.width - size * 0.9
    room = right - margin
    shop, (street, town) = words.choice(rng, words.SHOPS), words.address(rng)
    y = size * 2.2
    sheet.text(
        sheet.width / 2,
        y,
        shop.upper(),
        sheet.fit(shop.upper(), body.of(size * 1.4).heavy(), room),
        "ms",
    )
    for text in (street, town):
        y += body.leading
        sheet.text(sheet.width / 2, y, text, sheet.fit(text, body, room), "ms")
    date, time = words.date(rng), words.clock(rng)
    y += body.leading * 1.2
    row = sheet.fit(f"{date}  {time}", body, room)
    sheet.text(margin, y, date, row)
    sheet.text(right, y, time, row, "rs")
    y += size * 0.7
    sheet.rule([(margin, y), (right, y)], RULE)
    left = int((sheet.height - y - 5.5 * body.leading) / body.leading)
    items = words.some(rng, words.GOODS, max(1, int(left * rng.uniform(0.5, 1.0))))
    total, asked = 0, []
    for item in items:
        y += body.leading
        price = int(rng.integers(49, 2999))
        total += price
        sheet.text(right, y, words.money(price), body, "rs")
        sheet.text(margin, y, item, sheet.fit(item, body, room - body.length("00.00  ")))
        asked.append(Question("print", f"how much is {item}?", words.money(price)))
    y += size * 0.7
    sheet.rule([(margin, y), (right, y)], RULE)
    strong = sheet.fit("TOTAL  000.00", body.of(size * 1.3).heavy(), room)
    y += strong.leading
    sheet.text(margin, y, "TOTAL", strong)
    sheet.text(right, y, words.money(total), strong, "rs")
    paid = -(-total // 1000) * 1000
    for name, value in (("Cash", paid), ("Change", paid - total)):
        y += body.leading
        sheet.text(margin, y, name, body)
        sheet.text(right, y, words.money(value), body, "rs")
    if y + 2 * body.leading < sheet.height:
        thanks = words.choice(rng, ("Thank you!", "Please come again", "Have a nice day"))
        sheet.text(
            sheet.width / 2, y + 1.6 * body.leading, thanks, sheet.fit(thanks, body, room), "ms"
        )
    return [
        Question("print", "what is the total?", words.money(total)),
        Question("print", "which shop is it?", shop),
        Question("print", "when was it printed?", date),
        asked[int(rng.integers(len(asked)))],
    ]


def table(sheet: Canvas) -> list[Question]:
    """Numbers by row and column, as in a report or a spreadsheet."""
    rng = sheet.rng
    size = min(sheet.between(8.5, 18), sheet.height / 9, sheet.width / 15)
    body = sheet.style(size, "sans", "serif", "narrow")
    margin = sheet.width * 0.04
    title = f"{words.choice(rng, words.MEASURES)} by region, {int(rng.integers(2001, 2027))}"
    head = sheet.fit(title, body.of(size * 1.35).heavy(), sheet.width - 2 * margin)
    y = margin + head.size
    sheet.text(margin, y, title, head)
    first = size * 5.5
    columns = max(1, min(int((sheet.width - 2 * margin - first) / (size * 4.6)), 6))
    step = (sheet.width - 2 * margin - first) / columns
    top = y + size * 0.7
    line = size * rng.uniform(1.6, 2.1)
    most = int((sheet.height - margin - top) / line) - 1
    rows = max(1, int(most * rng.uniform(0.5, 1.0)))
    regions = words.some(rng, words.REGIONS if rows <= len(words.REGIONS) else words.TOWNS, rows)
    rows = len(regions)
    names = words.some(rng, words.MONTHS, columns)
    shade: Colour = [(226, 232, 242), (236, 236, 236), (240, 230, 222)][int(rng.integers(3))]
    grid = bool(rng.random() < 0.5)
    sheet.rect(margin, top, sheet.width - margin, top + line, shade)
    sheet.text(margin + size * 0.4, top + line * 0.7, "Region", body.heavy())
    for column, name in enumerate(names):
        x = margin + first + (column + 1) * step - size * 0.4
        sheet.text(x, top + line * 0.7, name, body.heavy(), "rs")
    cells: list[Question] = []
    for row, region in enumerate(regions, 1):
        y = top + row * line
        if not grid and row % 2 == 0:
            sheet.rect(margin, y, sheet.width - margin, y + line, (244, 244, 246))
        sheet.text(margin + size * 0.4, y + line * 0.7, region, body)
        for column, name in enumerate(names):
            value = f"{int(10 ** rng.uniform(1, 4.5)):,}"
            x = margin + first + (column + 1) * step - size * 0.4
            sheet.text(x, y + line * 0.7, value, body, "rs")
            cells.append(Question("print", f"what is the value for {region} in {name}?", value))
    if grid:
        for row in range(rows + 2):
            sheet.rule([(margin, top + row * line), (sheet.width - margin, top + row * line)], RULE)
        for x in (margin, *(margin + first + c * step for c in range(columns + 1))):
            sheet.rule([(x, top), (x, top + (rows + 1) * line)], RULE)
    chosen = rng.permutation(len(cells))[:3]
    return [Question("print", "what is the title?", title), *(cells[int(i)] for i in chosen)]


def timetable(sheet: Canvas) -> list[Question]:
    """Departures: time, line, destination, platform; on paper or on a dark board."""
    rng = sheet.rng
    size = min(sheet.between(9, 24), sheet.height / 9, sheet.width / 17)
    dark = bool(rng.random() < 0.5)
    ink: Colour = (255, 200, 60) if dark else (24, 24, 28)
    if dark:
        sheet.rect(0, 0, sheet.width, sheet.height, (18, 20, 26))
    body = sheet.style(size, "sans", "narrow", "mono", colour=ink)
    margin = size * 0.8
    station = (
        f"{words.choice(rng, words.TOWNS)} {words.choice(rng, ('Central', 'Station', 'Airport'))}"
    )
    head = sheet.fit(station, body.of(size * 1.4).heavy(), sheet.width - 2 * margin)
    y = margin + head.size
    sheet.text(margin, y, station, head)
    y += body.leading * 1.2
    line = margin + size * 3.8
    town = line + size * 3
    for x, text in ((margin, "Time"), (line, "Line"), (town, "To")):
        sheet.text(x, y, text, body.of(size * 0.85))
    sheet.text(sheet.width - margin, y, "Plat.", body.of(size * 0.85), "rs")
    sheet.rule([(margin, y + size * 0.4), (sheet.width - margin, y + size * 0.4)], ink)
    step = body.leading * rng.uniform(1.0, 1.35)
    rows = max(1, min(int((sheet.height - margin - y) / step), 14))
    minute, questions = int(rng.integers(300, 1000)), []
    for destination in words.some(rng, words.TOWNS, rows):
        y += step
        minute += int(rng.integers(2, 25))
        time = f"{minute // 60:02d}:{minute % 60:02d}"
        platform = str(int(rng.integers(1, 20)))
        sheet.text(margin, y, time, body)
        name = f"{words.choice(rng, ('S', 'R', 'IC', 'U'))}{int(rng.integers(1, 90))}"
        sheet.text(line, y, name, body)
        room = sheet.width - margin - town - size * 2
        sheet.text(town, y, destination, sheet.fit(destination, body, room))
        sheet.text(sheet.width - margin, y, platform, body, "rs")
        questions += [
            Question("print", f"when does it leave for {destination}?", time),
            Question("print", f"which platform is for {destination}?", platform),
        ]
    chosen = rng.permutation(len(questions))[:3]
    return [
        Question("print", "which station is it?", station),
        *(questions[int(i)] for i in chosen),
    ]
