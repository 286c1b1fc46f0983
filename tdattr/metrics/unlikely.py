"""Pictures that a model is unlikely to have made, as a sentence."""

from collections.abc import Sequence
from typing import Any

from tdattr.wording import name_some

MOST_NAMED = 5


def warn_unlikely(pictures: Sequence[dict[str, Any]]) -> str | None:
    """What there is to say of pictures that F1 is unlikely to have made; None where there are none. A low loss is none
    of its reasons: flat pictures have one, and so has what a model knows by heart."""
    names = [each["picture"] for each in pictures if each["far"] or each["beyond"]]
    if not names:
        return None
    return (
        f"{name_some(names, MOST_NAMED)}: this model is unlikely to have made such pictures, as their losses "
        "are higher than those of items that it has not seen, or their details are of another kind; attributing them "
        "says little."
    )
