"""Weights measured beside a bundle's own: another bundle, or an adapter that was trained otherwise.

--variant joint=BUNDLE --> condition "variant joint 1f0c22d9", called "joint"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.judges.accuracy import VIEWS
from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError


@dataclass(frozen=True)
class Variant:
    """A bundle whose adapter is for the same tower.

    codec: its name in records, which holds the bundle's id, so that another export is another
    condition. label: its name in tables.
    """

    codec: str
    label: str
    bundle: Bundle


def add_variant_option(parser: argparse.ArgumentParser) -> None:
    """--variant, as `read_variants` takes it."""
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=BUNDLE",
        help="another bundle (embedded name or folder) for the same tower; repeatable",
    )


def read_variants(named: Sequence[str]) -> list[Variant]:
    """The bundles of NAME=BUNDLE. Raises UsageError where it is not of that form."""
    variants = []
    for text in named:
        name, place = split_name(text, "--variant NAME=BUNDLE")
        bundle = open_bundle(place)
        variants.append(Variant(f"variant {name} {bundle.hex_id}", name, bundle))
    return variants


def names_of(variants: Sequence[Variant]) -> dict[str, str]:
    """What tables call our codec's views and the variants, by the names in records."""
    return {**VIEWS, **{variant.codec: variant.label for variant in variants}}


def name_bundles(bundle: Bundle, variants: Sequence[Variant]) -> str:
    """Which bundles were measured, for the report."""
    others = (f"*{variant.label}* is bundle {variant.bundle.hex_id}" for variant in variants)
    return "; ".join([f"bundle {bundle.hex_id}", *others])


def split_name(text: str, form: str) -> tuple[str, str]:
    """The two sides of NAME=PLACE. Raises UsageError where one is missing."""
    name, _, place = text.partition("=")
    if not (name and place):
        raise UsageError(f"{text!r} lacks a name or a place", hint=f"write it as {form}")
    return name, place
