"""Pictures that a model is unlikely to have made, as a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from tdattr.wording import name_some

MOST_NAMED = 5
UNCOMPARED = (
    "Whether the model could have made these pictures is not judged by their losses, as there are no two items "
    "that it has not seen: hold some out with dataset.source.held_out=10 or remove.ids=[…], if it is trained here."
)


def warn_uncompared(pictures: Sequence[Mapping[str, Any]]) -> str | None:
    """What there is to say where the losses of pictures were compared with nothing; None where they were."""
    return None if all(entry["beyond"] is not None for entry in pictures) else UNCOMPARED


def warn_unlikely(pictures: Sequence[Mapping[str, Any]]) -> str | None:
    """What there is to say of pictures that F1 is unlikely to have made; None where there are none. A low loss is none
    of its reasons: flat pictures have one, and so has what a model knows by heart."""
    names = list(dict.fromkeys(entry["picture"] for entry in pictures if entry["far"] or entry["beyond"]))
    if not names:
        return None
    return (
        f"{name_some(names, MOST_NAMED)}: this model is unlikely to have made such pictures, as their losses "
        "are higher than those of items that it has not seen, or their details are of another kind; attributing them "
        "says little."
    )
