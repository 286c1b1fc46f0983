"""What the page says of training items and groups, in a real browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.report.outputs import ITEMS, QUERIES
from tests.report.viewed import GROUPS, SURE, Open, slug

pytestmark = pytest.mark.slow


def test_items_say_which_pictures_owe_them_and_hubs_come_first(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/items")
    first = page.locator(".view.current .hubs tbody tr").first
    assert first.locator("td").nth(0).inner_text().startswith("id 7: ")
    assert first.locator("td").nth(1).inner_text() == f"{2 * QUERIES} (100 %)"
    diagonal = page.locator(".view.current .matrix tbody tr").nth(0).locator("td").nth(0)
    assert diagonal.inner_text() == "100 %"
    first.locator("a").click()
    page.get_by_text("of 3 methods say so").wait_for()
    section = page.locator(".view.current section.method", has_text="Pictures that owe it most, by mucs")
    row = section.locator(".hubs tbody tr").first.locator("td")
    assert row.nth(1).inner_text() == "1" and row.nth(3).inner_text() == "8.51 to 9.49"  # 9 ± 1.96 · 0.25
    row.nth(0).locator("a").click()
    page.wait_for_url("**/queries/s1q0*")


def test_a_matrix_is_coloured_by_how_alike_methods_are(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/items")
    cells = page.locator(".view.current .matrix").first.locator(".heat")
    shares = [float(text.removesuffix(" %")) for text in cells.all_inner_texts()]
    colours = cells.evaluate_all("each => each.map((cell) => getComputedStyle(cell).backgroundColor)")
    strength = [float(colour.rstrip(")").rpartition("/")[2]) if "/" in colour else 0.0 for colour in colours]
    assert strength == pytest.approx([0.0045 * share for share in shares], abs=0.005)
    assert len(set(shares)) > 1 and max(strength) == pytest.approx(0.45, abs=0.01)


def read_scores(report: Path, run: int) -> np.ndarray:
    """What a run stored, [query, target]."""
    return load_file(report.parent / "artifacts" / "scores" / str(run) / "scores.safetensors")["scores"]


def read_matrix(page: Any, number: int) -> dict[tuple[str, str], str]:
    """The cells of a table of how far methods agree."""
    table = page.locator(".view.current .matrix").nth(number)
    names = table.locator("thead th").all_inner_texts()
    cells = table.locator("tbody td").all_inner_texts()
    return dict(zip([(first, second) for first in names for second in names], cells, strict=True))


def test_methods_agree_as_their_stored_scores_do(open_page: Open, report: Path) -> None:
    runs = {"pixel": (1, 4), "mucs": (2, 5), "abu": (3, 6)}  # of both seeds
    tops = {
        name: [set(row) for run in numbers for row in np.argsort(-read_scores(report, run), kind="stable")[:, :8]]
        for name, numbers in runs.items()
    }
    cells = read_matrix(open_page(f"#{slug(report, 'leave_k_out')}/items"), 0)
    for first, second in (("pixel", "mucs"), ("pixel", "abu"), ("abu", "mucs")):
        share = np.mean([len(one & other) / 8 for one, other in zip(tops[first], tops[second], strict=True)])
        assert float(cells[first, second].removesuffix(" %")) == pytest.approx(100 * share, abs=0.5)
        assert cells[first, second] == cells[second, first]
    items = read_scores(report, 7)
    means = np.stack([items[:, start :: len(GROUPS)].mean(1) for start in range(len(GROUPS))], axis=1)
    share = np.mean(means.argmax(1) == SURE.argmax(1))
    cells = read_matrix(open_page(f"#{slug(report, 'logo')}/items"), 1)
    assert float(cells["pixel", "guda_u"].removesuffix(" %")) == pytest.approx(100 * share, abs=0.5)


def test_a_long_list_of_items_is_shown_whole_on_demand(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/items")
    rows = page.locator(".view.current .hubs tbody tr")
    assert rows.count() == 15 < ITEMS
    page.get_by_role("button", name="Show all").click()
    assert rows.count() > 15
    assert not page.get_by_role("button", name="Show all").is_visible()
    shown = [int(text.split()[0]) for text in page.locator(".view.current .hubs td:nth-child(2)").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)


def test_queries_and_items_are_filtered_by_verdict_and_group(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'removal_loss')}/queries")
    view = page.locator(".view.current")
    cards = view.locator(".card")
    counts = []
    for words in ("das: loss rose more than after any", "das: loss rose no more"):
        label = next(each for each in view.get_by_label("Verdict").locator("option").all_inner_texts() if words in each)
        view.get_by_label("Verdict").select_option(label=label)
        counts.append(cards.count())
        told = cards.first.get_attribute("href")
        assert told is not None and "verdict=" in told
    assert sum(counts) == QUERIES and all(counts)
    view.get_by_label("Verdict").select_option(label="the model can hardly have made it")
    assert [text.split(",")[0] for text in cards.locator(".words").all_inner_texts()] == ["mine/1.png"]
    page.goto(page.url.partition("#")[0] + f"#{slug(report, 'removal_loss')}/items")
    view.get_by_label("Items of").select_option(GROUPS[1])
    listed = view.locator(".hubs tbody a").all_inner_texts()
    assert listed and all(int(text.split(":")[0].removeprefix("id ")) % len(GROUPS) == 1 for text in listed)
    before = view.locator(".hubs tbody tr td:nth-child(2)").all_inner_texts()
    view.get_by_label("Verdict").select_option(label="the model can hardly have made it")
    after = view.locator(".hubs tbody tr td:nth-child(2)").all_inner_texts()
    assert set(after) == {"1 (100 %)"} and len(after) < len(before)  # of one picture


def test_a_picture_is_only_said_to_be_possible_where_that_was_judged(open_page: Open, report: Path) -> None:
    words = ("its loss is above that of 40 % of items", "hardly have made such a picture", "is not judged by its loss")
    for query, told in enumerate(words):
        page = open_page(f"#{slug(report, 'removal_loss')}/queries/s1q{query}")
        subject = page.locator(".current .subject").inner_text()
        assert [each for each in words if each in subject] == [told]


def test_of_a_group_those_pictures_come_first_that_owe_it_most(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/items")
    page.locator(".view.current .hubs a", has_text=GROUPS[1]).click()
    section = page.locator(".view.current section.method", has_text="Pictures that owe it most, by guda_u")
    column = GROUPS.index(GROUPS[1])
    ranks = (SURE[:, [column]] < SURE).sum(1)
    expected = sorted(range(QUERIES), key=lambda query: (ranks[query], -SURE[query, column]))
    scores = section.locator("tbody td:nth-child(3)").all_inner_texts()
    assert [float(text) for text in scores] == [SURE[query, column] for query in expected]
    first = SURE[expected[0], column]
    assert section.locator("tbody td:nth-child(4)").first.inner_text() == f"{first - 0.49:.2f} to {first + 0.49:.2f}"
    other = page.locator(".view.current section.method", has_text="Pictures that owe it most, by tracin")
    assert "not known" in other.inner_text() and "No intervals: a group's score is here the mean" in other.inner_text()


def test_groups_are_bars_beside_the_ceiling(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/queries/s1q0")
    section = page.locator(".current section.method[aria-label=tracin]")
    assert sorted(section.locator(".bars a").all_inner_texts()) == sorted(GROUPS)
    assert "noise ceiling" in section.locator(".verdict").inner_text()
    assert section.locator(".meter .ceiling").count() > 0
    assert section.locator(".bars .first").count() == 1
