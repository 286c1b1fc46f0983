"""Prompts of glyphs, and a tokenizer that knows their words."""

from itertools import chain

from tdattr.base_model.prompts import known_prompts, make_tokenizer, word
from tdattr.data.glyphs import Glyphs
from tdattr.data.typefaces import COLLECTIONS
from tests.base_model.parts import make_split

TOKENS = 32


def all_prompts() -> set[str]:
    """Those of every glyph of both collections, in both wordings."""
    sources = [
        Glyphs(8, collection, "all", "none", wording, 0)  # type: ignore[arg-type]
        for collection in COLLECTIONS
        for wording in ("typeface", "depiction")
    ]
    places = chain.from_iterable(
        ((source, index, number) for index in range(len(source.objects)) for number in range(len(source.collection)))
        for source in sources
    )
    return {source.prompt(index, number) for source, index, number in places}


def test_every_word_of_every_prompt_of_glyphs_is_one_token_and_no_prompt_is_cut() -> None:
    tokenizer = make_tokenizer(known_prompts(), TOKENS)
    prompts = sorted(all_prompts())
    for prompt, ids in zip(prompts, tokenizer(prompts).input_ids, strict=True):
        words = prompt.lower().replace(",", " ,").replace("sans-serif", "sans - serif").split()
        assert tokenizer.convert_ids_to_tokens(ids)[1:-1] == [f"{known}</w>" for known in words]
        assert len(ids) <= TOKENS
    assert len({tuple(ids) for ids in tokenizer(prompts).input_ids}) == len(prompts)  # no two are the same to it


def test_the_empty_prompt_and_unknown_words_have_tokens_of_their_own() -> None:
    tokenizer = make_tokenizer(known_prompts(), TOKENS)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert tokenizer("", padding="max_length").input_ids == [start, *[end] * (TOKENS - 1)]
    unknown = tokenizer("żółw §").input_ids
    assert end not in unknown[1:-1] and tokenizer.decode(unknown, skip_special_tokens=True) == "żółw §"
    assert make_tokenizer(known_prompts(), TOKENS).get_vocab() == tokenizer.get_vocab()


def test_items_have_a_prompt_that_names_all_descriptors_and_some_with_three_of_them() -> None:
    data = make_split()
    prompts, indices = word(data.items, 4, seed=1)
    assert indices.shape == (len(data), 4) and len(set(prompts)) == len(prompts)
    for item, (character, descriptors) in enumerate(zip(data.items["object"], data.items["descriptors"], strict=True)):
        first, *others = (prompts[index] for index in indices[item])
        assert first == f"the digit {character} in a {descriptors} typeface"
        for prompt in others:
            assert prompt.startswith(f"A depiction of the digit {character}, artistic style featuring ")
            words = prompt.partition(" featuring ")[2].split(", ")
            assert len(set(words)) == 3 and set(words) <= set(descriptors.split())
    assert word(data.items, 4, seed=1)[0] == prompts and word(data.items, 4, seed=2)[0] != prompts
