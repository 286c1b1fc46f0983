"""Queries: which of the generated images are explained, and a selection that stays what it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tdattr.errors import UserError
from tdattr.queries import Queries, QueriesConfig, load_images, load_x, save_sampled
from tdattr.store import Artifact

COUNT = 6


@pytest.fixture
def queries() -> Queries:
    """Whose x is no image; the items' rows have labels of their own."""
    rng = torch.Generator().manual_seed(0)
    x, images = torch.randn(COUNT, 4, 2, 2, generator=rng), torch.rand(COUNT, 3, 8, 8, generator=rng)
    items = pd.DataFrame({"id": range(20, 20 + COUNT)}, index=range(100, 100 + COUNT))
    return Queries(x, images, torch.arange(2 * COUNT).view(COUNT, 2), items, "generate/abc", slice(0, COUNT))


def test_a_selection_has_the_same_of_fewer(queries: Queries) -> None:
    some = queries.select(slice(2, 5))
    assert len(queries) == COUNT and len(some) == 3
    assert torch.equal(some.x, queries.x[2:5]) and torch.equal(some.images, queries.images[2:5])
    assert some.conditions is not None and some.conditions.tolist() == [[4, 5], [6, 7], [8, 9]]
    assert some.items["id"].tolist() == [22, 23, 24]
    assert some.indices == slice(2, 5)
    bare = replace(queries, conditions=None).select(slice(0, 2))
    assert bare.conditions is None and len(bare) == 2


def test_a_selection_of_a_selection_still_says_which_of_the_run_s_images_it_has(queries: Queries) -> None:
    (one,) = (queries.select(slice(2, 6)).select(slice(1, 2)),)
    assert one.indices == slice(3, 4)
    assert torch.equal(one.x, queries.x[3:4]) and one.items["id"].tolist() == [23]


def test_no_two_selections_have_one_address(queries: Queries) -> None:
    parts = [queries.select(slice(first, last)) for first in range(COUNT) for last in range(first + 1, COUNT + 1)]
    addresses = {part.address for part in parts}
    assert len(addresses) == len(parts) and queries.address not in addresses
    assert queries.select(slice(1, 3)).address == queries.select(slice(1, 3)).address
    assert queries.select(slice(1, 3)).address != replace(queries, address="generate/xyz").select(slice(1, 3)).address


def config(**changes: Any) -> QueriesConfig:
    plain = {"attributed": 4, "controls": 3, "guidance": None, "batch_size": 5, "explained": "attributed"}
    plain |= dict.fromkeys(("prompts", "prompt", "where", "conditions", "seeds", "images", "captions", "condition"))
    return QueriesConfig(**(plain | changes))


def test_the_attributed_come_first_and_the_controls_after_them() -> None:
    assert (config().generated, config().count, config().indices) == (7, 4, slice(0, 4))
    controls = config(explained="controls")
    assert (controls.generated, controls.count, controls.indices) == (7, 3, slice(4, 7))


def test_controls_that_are_explained_must_be_there() -> None:
    with pytest.raises(UserError, match=r"queries\.explained=controls needs queries\.controls of at least 1"):
        config(explained="controls", controls=0)
    for chosen in ({"images": "a.png"}, {"seeds": [3]}):
        with pytest.raises(UserError, match=f"queries.explained=controls has no effect with queries.{min(chosen)}"):
            config(explained="controls", controls=0, **chosen)


def test_images_and_x_are_read_from_their_artifact(queries: Queries, tmp_path: Path) -> None:
    artifact = Artifact("generate", "abc", tmp_path)
    save_sampled(tmp_path, queries.x, queries.images)
    assert torch.equal(load_x(artifact), queries.x) and torch.equal(load_images(artifact), queries.images)


def test_seeds_take_the_place_of_numbers_in_order() -> None:
    assert config().numbers == list(range(7))
    chosen = config(seeds=[3, 17], attributed=2, controls=0)
    assert chosen.numbers == [3, 17] and chosen.unread()["attributed"] == "seeds"
    for seeds in ([], [2, 2]):
        with pytest.raises(UserError, match="must name numbers that all differ"):
            config(seeds=seeds)


def test_pictures_leave_nothing_to_generate() -> None:
    unread = config(images="photos").unread()
    assert {"attributed", "controls", "guidance", "seeds", "conditions", "prompts"} <= unread.keys()
    assert not {"captions", "condition", "prompt"} & unread.keys()
    assert {"captions", "condition"} <= config().unread().keys()
    for images in ("", [], ["a", True], [""]):
        with pytest.raises(UserError, match="queries.images=.* must be a picture"):
            config(images=images)
    with pytest.raises(UserError, match="queries.prompt and queries.captions both say"):
        config(images="a.png", prompt="a cat", captions="captions.csv")


def test_pictures_are_called_by_their_names_and_generated_images_by_their_places(queries: Queries) -> None:
    names = tuple(f"{letter}.png" for letter in "abcdef")
    assert replace(queries, names=names).select(slice(1, 3)).labels == ["b.png", "c.png"]
    generated = replace(queries, numbers=tuple(range(COUNT))).select(slice(1, 3))
    assert generated.numbers == (1, 2) and generated.labels == ["query 0", "query 1"]


def test_where_items_are_scored_for_themselves_nothing_of_queries_is_read() -> None:
    asked = config(explained="itself", attributed=1, controls=0)
    assert asked.indices == slice(0, 1) and asked.count == 1
    assert {
        "attributed",
        "controls",
        "seeds",
        "guidance",
    } <= asked.unread().keys() and "explained" not in asked.unread()
    for chosen in ({"images": "a.png"}, {"seeds": [3]}, {"prompts": "a.txt"}, {"conditions": ["cat"]}):
        with pytest.raises(
            UserError, match=f"method.self=true asks about no pictures: leave out queries.{min(chosen)}"
        ):
            config(explained="itself", **chosen)
