"""`python -m training {codec,clip,llava,tower,...}`: one command for each shipped weight."""

from __future__ import annotations

import argparse
import importlib
import sys
from types import ModuleType

from shared.errors import CotamError, UsageError, exit_code

TRAINERS = {
    "codec": ("codec.trainer", "the variable-rate codec, on photographs"),
    "entropy": ("codec.entropy", "the entropy network alone, for a codec whose transforms stay"),
    "clip": ("small_models.clip", "the CLIP towers, on Scenes and their captions"),
    "llava": ("small_models.llava", "the language model on the frozen tower, on Scenes"),
    "tower": ("tower.trainer", "an adapter for the vision tower of any model, on photographs"),
    "joint": ("tower.joint", "codec and adapter together, on the tower's features"),
    "restore": ("bundle.restore", "make runs of a bundle's weights, to train on from there"),
    "print_map": ("codec.print_map", "which cells of a picture hold print, on Pages"),
    "map_gain": ("bundle.map_gain", "on which pictures a bundle's level map is sent"),
    "focus": ("bundle.focus", "where pictures show what words of questions name"),
    "export": ("bundle.export", "make a bundle of finished runs and check it"),
    "publish": ("bundle.publish", "write a bundle as a repository of Hugging Face's hub"),
}
"""Command: its module in this package, and what it makes."""


def main() -> None:
    """Parse the command line and hand over to the trainer's `main`."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in TRAINERS.items():
        # Trainers import torch, some transformers: load what was asked for alone.
        commands.add_parser(name, help=text, add_help=False)
    chosen, rest = parser.parse_known_args()
    try:
        module, own = loaded(chosen.command)
        module.main(own.parse_args(rest))
    except ModuleNotFoundError as error:
        if error.name != "scenes":
            raise
        print(
            "python -m training: this trains on Scenes, which comes with a checkout, not with the "
            "package (`codec` and `entropy` do without: --scenes 0 --pages 0)",
            file=sys.stderr,
        )
        raise SystemExit(exit_code(UsageError(""))) from None
    except (CotamError, FileNotFoundError, FileExistsError) as error:
        print(f"python -m training: {error}", file=sys.stderr)
        code = exit_code(error) if isinstance(error, CotamError) else exit_code(UsageError(""))
        raise SystemExit(code) from error


def loaded(command: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """A command's module and the parser of its options."""
    name, text = TRAINERS[command]
    module = importlib.import_module(f"training.{name}")
    parser = argparse.ArgumentParser(prog=f"python -m training {command}", description=text)
    module.add_arguments(parser)
    return module, parser


if __name__ == "__main__":
    main()
