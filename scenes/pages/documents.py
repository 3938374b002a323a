"""Paper with running text and boxes: a paragraph, a form, an invoice, a label."""

from __future__ import annotations

from scenes.pages import words
from scenes.pages.canvas import Canvas, Colour
from scenes.world import Question

GREY: Colour = (120, 120, 126)
RULE: Colour = (170, 170, 176)


def paragraph(sheet: Canvas) -> list[Question]:
    """A page of a book or a letter: a heading and prose in one or two columns."""
    rng = sheet.rng
    body = sheet.style(sheet.between(8.5, min(26, sheet.width / 14)), "serif", "sans", "hand")
    margin = sheet.width * rng.uniform(0.05, 0.1)
    topic = words.choice(rng, words.TOPICS)
    head = sheet.fit(topic, body.of(body.size * 1.7).heavy(), sheet.width - 2 * margin)
    y = margin + head.size
    sheet.text(margin, y, topic, head)
    author = words.person(rng)
    small = body.of(body.size * 0.85).inked(GREY)
    y += small.leading
    sheet.text(margin, y, f"by {author}", small)
    top = y + body.leading * 1.2
    columns = 2 if sheet.width > 26 * body.size and rng.random() < 0.5 else 1
    gap = body.size * 1.5
    width = (sheet.width - 2 * margin - gap * (columns - 1)) / columns
    for column in range(columns):
        y = top
        while y < sheet.height - margin:
            for text in sheet.wrap(words.prose(rng, int(rng.integers(2, 6))), body, width):
                if y > sheet.height - margin:
                    break
                sheet.text(margin + column * (width + gap), y, text, body)
                y += body.leading
            y += body.leading * 0.5
    return [
        Question("print", "what is the heading?", topic),
        Question("print", "who wrote this?", author),
    ]


def form(sheet: Canvas) -> list[Question]:
    """A form filled in by hand or machine."""
    rng = sheet.rng
    size = min(sheet.between(9, 20), sheet.height / 17, sheet.width / 20)
    label = sheet.style(size, "sans", "serif")
    entry = sheet.style(size * 1.1, "hand", "mono", "sans", colour=(28, 40, 120))
    margin = sheet.width * 0.06
    street, town = words.address(rng)
    fields = [
        ("Name", words.person(rng)),
        ("Date of birth", words.date(rng)),
        ("Street", street),
        ("Town", town),
        ("Telephone", words.phone(rng)),
        ("Member no.", str(int(rng.integers(100_000, 999_999)))),
        ("Employer", words.choice(rng, words.COMPANIES)),
        ("Position", words.choice(rng, ("Clerk", "Nurse", "Driver", "Teacher", "Engineer"))),
    ]
    title = words.choice(rng, ("Registration form", "Application", "Visitor record", "Claim form"))
    head = sheet.fit(title, label.of(size * 1.6).heavy(), sheet.width - 2 * margin)
    y = margin + head.size
    sheet.text(margin, y, title, head)
    y += size * 0.8
    sheet.rule([(margin, y), (sheet.width - margin, y)], RULE)
    row = max(size * 2.0, min(size * 2.8, (sheet.height - y - margin) / (len(fields) + 1)))
    split = margin + label.length("Date of birth ") + size
    boxed = bool(rng.random() < 0.5)
    questions = []
    for name, value in fields:
        y += row
        if y > sheet.height - margin:
            break
        sheet.text(margin, y, name, label)
        room = sheet.width - margin - split
        if boxed:
            sheet.rect(split, y - size * 1.25, sheet.width - margin, y + size * 0.45, None, RULE)
        else:
            sheet.rule([(split, y + size * 0.25), (sheet.width - margin, y + size * 0.25)], RULE)
        sheet.text(split + size * 0.4, y, value, sheet.fit(value, entry, room - size))
        questions.append(Question("print", f"what is entered under {name.lower()}?", value))
    y += row
    if y < sheet.height - margin:
        for index, text in enumerate(("Yes", "No")):
            x = margin + index * size * 5
            sheet.rect(x, y - size * 0.9, x + size * 0.9, y, None, GREY)
            if index == 0:
                sheet.rule([(x, y - size * 0.9), (x + size * 0.9, y)], entry.colour, 1.5)
            sheet.text(x + size * 1.4, y, text, label)
    return questions


def invoice(sheet: Canvas) -> list[Question]:
    """A bill with its sender, its items and what is due."""
    rng = sheet.rng
    size = min(sheet.between(8.5, 16), sheet.height / 22, sheet.width / 27)
    body = sheet.style(size, "sans", "serif")
    small = body.of(size * 0.9).inked(GREY)
    margin = sheet.width * 0.06
    right = sheet.width - margin
    company, (street, town) = words.choice(rng, words.COMPANIES), words.address(rng)
    accent: Colour = [(30, 60, 120), (130, 30, 40), (20, 100, 70), (40, 40, 44)][
        int(rng.integers(4))
    ]
    y = margin + size * 1.5
    sheet.text(margin, y, company, body.of(size * 1.5).heavy().inked(accent))
    sheet.text(right, y, "INVOICE", body.of(size * 1.5).heavy(), "rs")
    number = f"{int(rng.integers(2015, 2027))}-{int(rng.integers(1000, 9999))}"
    due = words.date(rng)
    for left_text, right_text in ((street, f"No. {number}"), (town, f"Due {due}")):
        y += body.leading
        sheet.text(margin, y, left_text, small)
        sheet.text(right, y, right_text, body, "rs")
    y += body.leading * 2
    amount, quantity = right, right - size * 7
    sheet.rect(margin, y - size * 1.2, right, y + size * 0.5, accent)
    white = body.heavy().inked((250, 250, 250))
    sheet.text(margin + size * 0.4, y, "Item", white)
    sheet.text(quantity, y, "Qty", white, "rs")
    sheet.text(amount - size * 0.4, y, "Amount", white, "rs")
    total, questions = 0, []
    rows = int((sheet.height - margin - y - 4.5 * body.leading) / (body.leading * 1.15))
    for item in words.some(rng, words.SERVICES, max(1, min(rows, int(rng.integers(3, 9))))):
        y += body.leading * 1.15
        count, price = int(rng.integers(1, 12)), int(rng.integers(500, 90_000))
        total += price
        sheet.text(margin + size * 0.4, y, item, body)
        sheet.text(quantity, y, str(count), body, "rs")
        sheet.text(amount - size * 0.4, y, words.money(price), body, "rs")
        sheet.rule([(margin, y + size * 0.4), (right, y + size * 0.4)], (215, 215, 220))
        questions.append(Question("print", f"what does {item} cost?", words.money(price)))
    tax = total // 5
    for name, value in (("Subtotal", total), ("Tax 20%", tax), ("Total", total + tax)):
        y += body.leading * 1.1
        weight = body.heavy() if name == "Total" else body
        sheet.text(quantity, y, name, weight, "rs")
        sheet.text(amount - size * 0.4, y, words.money(value), weight, "rs")
    return [
        Question("print", "what is the total?", words.money(total + tax)),
        Question("print", "what is the invoice number?", number),
        Question("print", "when is it due?", due),
        questions[int(rng.integers(len(questions)))],
    ]


def label(sheet: Canvas) -> list[Question]:
    """The label of a parcel or a product: large codes, a bar code, small print."""
    rng = sheet.rng
    size = min(sheet.between(9, 22), sheet.height / 13, sheet.width / 18)
    body = sheet.style(size, "sans", "narrow", "mono")
    margin = size * 1.2
    sheet.rect(
        margin / 3,
        margin / 3,
        sheet.width - margin / 3,
        sheet.height - margin / 3,
        None,
        (30, 30, 32),
        size * 0.4,
        max(1.0, size / 8),
    )
    name, (street, town) = words.person(rng), words.address(rng)
    code = f"{words.choice(rng, ('AX', 'KT', 'PL', 'ZR'))}-{int(rng.integers(1000, 9999))}"
    big = sheet.fit(code, body.of(size * 2.4).heavy(), sheet.width - 2 * margin)
    y = margin + big.size
    sheet.text(margin, y, code, big)
    sheet.rule([(margin, y + size * 0.6), (sheet.width - margin, y + size * 0.6)], (30, 30, 32))
    y += size * 0.6
    for text, style in ((name, body.heavy()), (street, body), (town, body)):
        y += body.leading
        sheet.text(margin, y, text, sheet.fit(text, style, sheet.width - 2 * margin))
    weight = f"{int(rng.integers(1, 30))}.{int(rng.integers(10))} kg"
    y += body.leading * 1.3
    sheet.text(margin, y, "Weight", body.inked(GREY))
    sheet.text(sheet.width - margin, y, weight, body, "rs")
    bottom = sheet.height - margin - body.leading
    number = "".join(str(int(d)) for d in rng.integers(0, 10, 12))
    if bottom - y > 3 * size:
        x = margin
        while x < sheet.width - margin - 3:
            width = float(rng.integers(1, 4)) * max(1.0, size / 10)
            sheet.rect(x, y + size, x + width, bottom, (20, 20, 22))
            x += width + float(rng.integers(1, 4)) * max(1.0, size / 10)
        sheet.text(
            sheet.width / 2,
            bottom + size * 1.1,
            number,
            sheet.fit(number, body, sheet.width - 2 * margin),
            "ms",
        )
    return [
        Question("print", "who is it for?", name),
        Question("print", "what is the weight?", weight),
        Question("print", "what code stands at the top?", code),
    ]
