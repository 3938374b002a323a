"""The first lines of the results and of the README, from the sections that commands wrote."""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluation.report.document import write_section
from evaluation.report.headlines import Results, text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--pages", type=Path, default=Path("docs/results"), help="their folder")


def main(arguments: argparse.Namespace) -> None:
    """Write the section in both files."""
    body = text(Results.read(arguments.pages))
    for page in (arguments.report, arguments.readme):
        write_section(page, "headlines", body)
