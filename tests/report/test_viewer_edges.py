"""The page where there is little, much, or nothing to show, in a real browser."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tdattr.report import command, group_scores
from tdattr.scores import Scores, save_scores
from tests.report.outputs import ITEMS, QUERIES, Outputs
from tests.report.pictured import add_pictures
from tests.report.viewed import Open, slug

pytestmark = pytest.mark.slow
HEBREW = "שלום עולם"
LONG = "a word " * 1000
GROUPS = ("first", "second", "third", HEBREW)
SHOWN = 2  # bars of a query
SCORES = np.array([[4.0, 3.0, 2.0, 1.0]] * QUERIES)  # [query, group]: two are never shown


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a method of items and one of groups, by groups of which few have a bar; gold has a tie. And of two
    methods, for one of which nothing is claimed; and of two, of which one was run under one seed."""
    outputs = Outputs(tmp_path_factory.mktemp("edges"))
    gold = SCORES.copy()
    gold[0] = 1.0
    protocol = {"name": "logo", "aggregate": {"kind": "mean", "top": 3, "positive_only": False}}
    for method in ("pixel", "guda_u"):
        outputs.groups(method, 1, gold, SCORES, names=GROUPS, protocol=protocol)
        values = np.tile(np.arange(ITEMS)[::-1], (QUERIES, 1)) + 10.0 * (3 - np.arange(ITEMS) % len(GROUPS))
        add_pictures(outputs, (HEBREW, LONG), GROUPS, values)
    scores = Scores(torch.from_numpy(SCORES).float(), np.arange(ITEMS), groups=list(GROUPS))
    save_scores(scores, outputs.root / "artifacts" / "scores" / f"{outputs.count}")
    for method in ("random", "das"):
        outputs.lds(method, 1)
        add_pictures(outputs, (HEBREW, LONG), GROUPS)
    for method, seed in (("pixel", 1), ("pixel", 2), ("abu", 1)):
        outputs.run(method, seed)
        add_pictures(outputs, (HEBREW, LONG), GROUPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_scores, "MOST_GROUPS", SHOWN)
        command.write([outputs.root / "runs"], outputs.root / "report")
    return outputs.root / "report"


def test_where_gold_has_a_tie_no_group_is_its_first(open_page: Open, report: Path) -> None:
    for query, count in (("s1q0", 0), ("s1q1", 1)):
        page = open_page(f"#{slug(report, 'logo')}/queries/{query}")
        section = page.locator(".current section.method[aria-label=pixel]")
        assert section.locator(".bars .first").count() == count
        assert ("In bold" in section.inner_text()) == bool(count)
        assert f"The {SHOWN} highest of {len(GROUPS)}." in section.inner_text()


def test_what_is_not_known_is_a_dash_and_comes_last_either_way(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/items")
    table = page.locator(".view.current .hubs").nth(1)
    ranks = table.locator("tbody td:last-child")
    for expected in (["2", "1", "–", "–"], ["1", "2", "–", "–"]):
        table.get_by_role("button", name="best rank").click()
        assert ranks.all_inner_texts() == expected


def test_a_method_is_only_asked_for_what_it_scores(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/items")
    items, groups = (page.locator(".view.current .hubs").nth(number) for number in (0, 1))
    assert [text.split()[0] for text in items.locator("th").all_inner_texts()] == ["item", "pictures", "pixel", "best"]
    assert {"pixel", "guda_u"} <= set(groups.locator("th").all_inner_texts())
    items.locator("a").first.click()
    page.get_by_text("1 of 1 method say so").wait_for()
    assert "guda_u" not in page.locator(".view.current .answers").inner_text()


def test_a_query_that_the_last_method_has_not_seen_is_answered_by_another(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/queries")
    for query, method in (("s1q0", "abu"), ("s2q0", "pixel")):
        card = page.locator(f".view.current .card[href$='/{query}']")
        assert f"owes most, by {method}: " in card.inner_text()


def test_filters_that_leave_no_query_say_so(open_page: Open, report: Path) -> None:
    for view, told in (("queries", "No query matches"), ("items", "Nothing matches")):
        page = open_page(f"#{slug(report, 'logo')}/{view}?group=none")
        assert told in page.locator(".view.current").inner_text()
        assert "NaN" not in page.locator(".view.current").inner_text()
        assert page.locator(".view.current .hubs, .view.current .card").count() == 0


def test_a_long_caption_leaves_room_for_the_picture(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/queries/s1q1", viewport={"width": 360, "height": 740})
    assert page.locator(".current .frame").bounding_box()["y"] < 740
    assert LONG.strip() in page.locator(".current .subject h3").text_content()
    page = open_page(f"#{slug(report, 'logo')}/items")
    heights = [row.bounding_box()["height"] for row in page.locator(".view.current .hubs tbody tr").all()]
    assert max(heights) < 120


def test_what_follows_a_name_from_right_to_left_stands_behind_it(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/items")
    page.locator(".view.current .hubs a", has_text=f"group {GROUPS[0]}").click()
    link = page.locator(".view.current .thumb span", has_text=HEBREW).first
    ends = link.evaluate(
        "each => { const range = document.createRange(); range.selectNodeContents(each.lastChild);"
        " return [each.firstChild.getBoundingClientRect().right, range.getBoundingClientRect().left]; }"
    )
    assert link.inner_text() == f"condition: {HEBREW} (seed 1)" and ends[0] <= ends[1] + 1


def test_the_wheel_scrolls_the_page_and_enlarges_with_ctrl(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/queries/s1q0")
    page.locator(".current .frame").hover()
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(100)
    assert page.locator(".current .told").inner_text() == "100 %"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.get_by_text("120 %").wait_for()


def test_escape_leads_up_from_within_a_table(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/items/t0")
    page.locator(".view.current .hubs a").first.focus()
    page.keyboard.press("Escape")
    page.wait_for_url("**/items")


def test_a_choice_keeps_the_focus_when_another_filter_goes(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'lds')}/queries")
    view = page.locator(".view.current")
    assert view.get_by_label("Verdict").count() == 1
    view.locator("details.methods summary").click()
    view.get_by_label("das").focus()
    page.keyboard.press("Space")
    assert view.get_by_label("Verdict").count() == 0  # random has none
    assert view.get_by_label("das").evaluate("each => each === document.activeElement")
