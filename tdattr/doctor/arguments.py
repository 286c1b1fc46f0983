"""What ``tdattr-doctor`` is asked, read before anything heavy is imported."""

import argparse
from collections.abc import Sequence

import tdattr
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.overrides import is_override

DESCRIPTION = """
Looks at a model and the pictures that it was trained on before anything is attributed: does it load, do its losses look
like a trained model's on these pictures, does it know its training items from others, do batch size or precision change
anything, and how long does each method take. Prints its findings, each with the override that helps, and writes them as
a page. Status 1 where something is broken.

Overrides are those of tdattr, also without --data and --model: tdattr-doctor experiment=demo. What --data and --model
stand for is printed.
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, and ``overrides``. Raises UserError for what is neither."""
    parser = argparse.ArgumentParser(
        "tdattr-doctor",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of tdattr: train.steps=2000, for example")
    parser.add_argument("--data", type=expand, metavar="FOLDER", help="the pictures; a sub-folder is a group")
    parser.add_argument(
        "--model", type=expand, metavar="PATH", help="a .safetensors file, or a folder that diffusers has saved"
    )
    parser.add_argument(
        "--out", type=expand, metavar="FOLDER", help="where the page goes; default: doctor in paths.outputs"
    )
    sizes = parser.add_argument_group("how much is looked at; less is faster")
    for name, default, text in (
        ("items", 64, "training items whose losses are computed, and as many held-out ones"),
        ("levels", 8, "noise levels"),
        ("draws", 4, "noise images at each level"),
        ("gradients", 4, "items whose gradients are computed"),
    ):
        text = f"{text}; default: {default}"
        sizes.add_argument(f"--{name}", type=read_count, default=default, metavar="N", help=text)
    text = "do not ask how long each method takes"
    sizes.add_argument("--no-methods", dest="methods", action="store_false", help=text)
    parser.add_argument("--train", action="store_true", help="train the first model where it is not there yet")
    parser.add_argument("--version", action="version", version=f"tdattr {tdattr.__version__}")
    options = parser.parse_intermixed_args(arguments)
    for argument in options.overrides:
        if not is_override(argument):
            raise UserError(
                f"{argument!r} is no override: write name=value, --data FOLDER for pictures, or --model PATH."
            )
    return options


def read_count(text: str) -> int:
    """A number of at least 1. Raises ArgumentTypeError for another text."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
