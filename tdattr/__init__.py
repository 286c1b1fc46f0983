"""Training data attribution for diffusion models: which training data made this picture possible?

    import tdattr

    ws = tdattr.compose(["dataset=image_folder", "dataset.source.root=photos", "method=mucs"])
    scores = tdattr.attribute(ws)

Nothing heavy is imported before one of these functions is called.
"""

from typing import Any

__version__ = "0.1.0"
FUNCTIONS = ("attribute", "compose", "evaluate", "generate", "train")
__all__ = ["__version__", *FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        from tdattr import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
