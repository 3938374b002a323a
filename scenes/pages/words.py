"""What pages say: names, things, prices, dates and sentences, all made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

FIRST: Final = (
    *("Anna", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Henry", "Ines", "Jonas"),
    *("Karin", "Liam", "Maya", "Nora", "Oscar", "Paula", "Quentin", "Rosa", "Simon", "Tara"),
    *("Umar", "Vera", "Walter", "Xenia", "Yusuf", "Zoe"),
)
LAST: Final = (
    *("Abbott", "Becker", "Costa", "Dunn", "Ekberg", "Fischer", "Garcia", "Hughes", "Ivanov"),
    *("Jensen", "Keller", "Lopez", "Moreau", "Novak", "Okafor", "Peters", "Quinn", "Rossi"),
    *("Schmidt", "Tanaka", "Usman", "Vogel", "Walsh", "Young", "Zeller"),
)
TOWNS: Final = (
    *("Ashford", "Bremen", "Calder", "Dover", "Elmwood", "Falkirk", "Granton", "Halden", "Ilford"),
    *("Jarrow", "Kelso", "Linden", "Malmo", "Norwich", "Oakham", "Preston", "Quimper", "Ripley"),
    *("Salem", "Torquay", "Upton", "Verona", "Wexford", "York"),
)
STREETS: Final = (
    *("Mill", "Station", "Church", "Garden", "Harbour", "King", "Market", "Orchard", "Park"),
    *("Queen", "River", "School", "Temple", "Union", "Victoria", "Water", "Bridge", "Castle"),
    *("Forest", "Hill"),
)
GOODS: Final = (
    *("Whole milk", "Brown bread", "Butter", "Apples", "Bananas", "Green tea", "Coffee beans"),
    *("Orange juice", "Tomatoes", "Potatoes", "Rice 1kg", "Pasta", "Olive oil", "Sea salt"),
    *("Cheddar", "Yoghurt", "Eggs x12", "Chicken", "Salmon", "Carrots", "Onions", "Honey"),
    *("Dark chocolate", "Biscuits", "Still water", "Lemonade", "Soap", "Shampoo", "Batteries"),
    *("Notebook", "Paper towels", "Candles", "Cereal", "Mushrooms", "Red pepper", "Spinach"),
)
SERVICES: Final = (
    *("Site inspection", "Wall painting", "Roof repair", "Cable laying", "Garden care"),
    *("Web hosting", "Data backup", "Translation", "Proof reading", "Window cleaning"),
    *("Engine service", "Tyre change", "Design work", "Delivery", "Assembly", "Consulting"),
    *("Steel bolts M8", "Copper pipe 2m", "LED panel", "Oak board", "Office chair"),
)
SHOPS: Final = (
    *("Corner Market", "Daily Fresh", "Green Basket", "City Grocers", "Sunrise Foods"),
    *("Old Mill Bakery", "Blue Door Cafe", "Harbour Fish", "Paper & Ink", "The Book Nook"),
    *("Golden Spoon", "Pizza Roma", "Noodle House", "Flower Power", "Bike Works"),
    *("Quick Pharmacy", "Hair Studio", "Optic Plus", "Shoe Repair", "Record Store"),
)
COMPANIES: Final = (
    *("Northwind Ltd", "Acorn Systems", "Bluefin Labs", "Cobalt Works", "Delta Supplies"),
    *("Evergreen AG", "Falcon Media", "Granite & Sons", "Horizon Tools", "Ironbridge Co"),
)
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MEASURES: Final = (
    *("Revenue", "Visitors", "Rainfall", "Output", "Energy use", "Sales", "Members", "Exports"),
    *("Page views", "Tickets", "Passengers", "Orders"),
)
REGIONS: Final = (
    "North",
    "South",
    "East",
    "West",
    "Central",
    "Coast",
    "Valley",
    "Islands",
    "Capital",
)
SHARES: Final = (
    *("Rent", "Food", "Travel", "Health", "Leisure", "Savings", "Solar", "Wind", "Hydro"),
    *("Gas", "Coal", "Mobile", "Desktop", "Tablet", "Print", "Radio", "Video"),
)
_ADJECTIVES: Final = (
    *("quiet", "early", "small", "bright", "narrow", "modern", "ancient", "public", "steady"),
    *("careful", "distant", "hidden", "open", "heavy", "simple", "broken", "golden", "northern"),
    *("empty", "famous"),
)
_NOUNS: Final = (
    *("river", "council", "engine", "garden", "letter", "market", "teacher", "window", "bridge"),
    *("harvest", "museum", "signal", "journey", "painter", "village", "machine", "winter"),
    *("station", "record", "forest", "captain", "budget", "lesson", "island", "doctor", "printer"),
    *("valley", "kitchen", "report", "question"),
)
_VERBS: Final = (
    *("crossed", "opened", "followed", "measured", "repaired", "described", "visited", "painted"),
    *("changed", "recorded", "carried", "noticed", "reached", "avoided", "planned", "finished"),
    *("welcomed", "studied"),
)
_PLACES: Final = (
    *("near the harbour", "in the old town", "behind the school", "along the coast"),
    *("after the storm", "before sunrise", "on the second floor", "during the meeting"),
    *("without any warning", "for the first time", "in late autumn", "across the valley"),
)
TOPICS: Final = (
    *("Annual Report", "Project Update", "Summer Festival", "Open Day", "Water Quality"),
    *("Market Review", "Road Safety", "Team Meeting", "New Library", "Jazz Night"),
    *("Science Fair", "Spring Sale", "City Marathon", "Energy Plan", "Film Week"),
)


def choice(rng: np.random.Generator, things: Sequence[str]) -> str:
    """One of several."""
    return things[int(rng.integers(len(things)))]


def some(rng: np.random.Generator, things: Sequence[str], count: int) -> list[str]:
    """`count` different ones, or all there are."""
    return [things[int(i)] for i in rng.permutation(len(things))[:count]]


def person(rng: np.random.Generator) -> str:
    """First and last name."""
    return f"{choice(rng, FIRST)} {choice(rng, LAST)}"


def address(rng: np.random.Generator) -> tuple[str, str]:
    """Street with number, and town with its code."""
    street = f"{int(rng.integers(1, 200))} {choice(rng, STREETS)} Street"
    return street, f"{int(rng.integers(10000, 99999))} {choice(rng, TOWNS)}"


def phone(rng: np.random.Generator) -> str:
    """A telephone number."""
    area, first, last = (int(rng.integers(*span)) for span in ((20, 99), (100, 999), (1000, 9999)))
    return f"0{area} {first} {last}"


def date(rng: np.random.Generator) -> str:
    """A day in one of four ways of writing it."""
    day, month = int(rng.integers(1, 29)), int(rng.integers(12))
    year = int(rng.integers(2015, 2027))
    return (
        f"{day:02d}/{month + 1:02d}/{year}",
        f"{year}-{month + 1:02d}-{day:02d}",
        f"{day} {MONTHS[month]} {year}",
        f"{MONTHS[month]} {day}, {year}",
    )[int(rng.integers(4))]


def clock(rng: np.random.Generator) -> str:
    """A time of day."""
    return f"{int(rng.integers(6, 23)):02d}:{int(rng.integers(60)):02d}"


def money(pence: int) -> str:
    """An amount with two decimals and its thousands apart."""
    return f"{pence / 100:,.2f}"


def sentence(rng: np.random.Generator) -> str:
    """A plain sentence of eight to sixteen words."""
    first, second = some(rng, _NOUNS, 2)
    text = f"the {choice(rng, _ADJECTIVES)} {first} {choice(rng, _VERBS)} the {second}"
    tail = choice(rng, _PLACES)
    form = int(rng.integers(4))
    if form == 0:
        text = f"{tail}, {text}"
    elif form == 1:
        text = f"{text} {tail}"
    elif form == 2:
        text = f"{text} {tail}, and {int(rng.integers(2, 90))} people saw it"
    else:
        text = f"in {int(rng.integers(1850, 2026))} {text} of {choice(rng, TOWNS)}"
    return text[0].upper() + text[1:] + "."


def prose(rng: np.random.Generator, sentences: int) -> str:
    """Several sentences."""
    return " ".join(sentence(rng) for _ in range(sentences))
