"""The prompts of ``experiment=guda_c_glyphs``, which are written in a file, are what the dataset would write."""

import json

from tdattr.data.glyphs import OBJECTS, depict
from tdattr.data.style_prompts import PromptForm
from tdattr.data.typefaces import STYLES
from tdattr.search_path import CONF


def test_every_prompt_depicts_a_character_in_the_words_of_its_style() -> None:
    lines = (CONF / "prompts" / "guda_c_glyphs.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len(lines) == 10 * len(STYLES)
    assert len({(row["style"], row["object"]) for row in rows}) == len(rows)
    for row in rows:
        words = PromptForm().parse(row["prompt"]).descriptors
        assert sorted(words) == sorted(STYLES[row["style"]])
        assert row["object"] in OBJECTS and row["prompt"] == depict(row["object"], words)
