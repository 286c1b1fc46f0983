"""Prompts taken apart, in the forms that UnlearnCanvas and GUDA have."""

import pytest

from tdattr.data.style_prompts import PromptForm, StylePrompt
from tdattr.data.unlearncanvas import PROMPT


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (PROMPT.format(object="Sea", style="Artist Sketch"), ("An image of Sea", "Sea", ())),
        ("a photo of a dog in Cold Warm style", ("a photo of a dog", "a dog", ())),
        (
            "A DEPICTION OF Old Trees , artistic style featuring a,b ",
            ("A DEPICTION OF Old Trees", "Old Trees", ("a", "b")),
        ),
        (
            "A depiction of Cats, artistic style featuring in style, x",
            ("A depiction of Cats", "Cats", ("in style", "x")),
        ),
        ("A depiction of Cats, artistic style featuring ", ("A depiction of Cats", "Cats", ())),
        ("Cats in a garden", ("Cats in a garden", "Cats in a garden", ())),
        ("", ("", "", ())),
    ],
)
def test_parts(prompt: str, expected: tuple[str, str, tuple[str, ...]]) -> None:
    assert PromptForm().parse(prompt) == StylePrompt(*expected)
