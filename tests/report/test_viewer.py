"""The page in a real browser: what its script does with the data of pretended runs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.report.outputs import ITEMS, QUERIES, K
from tests.report.viewed import GROUPS, HOSTILE, Open, slug

pytestmark = pytest.mark.slow


def test_one_walks_through_the_queries_by_keys_and_back(open_page: Open, report: Path) -> None:
    from playwright.sync_api import expect

    page = open_page(f"#{slug(report, 'leave_k_out')}")
    cards = page.locator(".current .card")
    assert cards.count() == 2 * QUERIES
    assert cards.first.locator(".words").inner_text() == f"condition: {HOSTILE[0]}"
    cards.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    heading = page.locator(".current .subject h3")
    expect(heading).to_be_focused()  # what a screen reader says next
    page.keyboard.press("ArrowRight")
    expect(heading).to_contain_text("<!-- <script>")
    expect(heading).to_be_focused()
    assert page.url.endswith("/queries/s1q1")
    page.keyboard.press("ArrowLeft")
    expect(heading).to_have_text(f"condition: {HOSTILE[0]}")
    page.go_back()
    expect(heading).to_contain_text("<!-- <script>")
    page.keyboard.press("Escape")
    expect(cards).to_have_count(2 * QUERIES)
    assert page.url.endswith("/queries")


def test_the_grid_says_what_each_query_owes_most(open_page: Open, report: Path) -> None:
    """By the best judged method that something is claimed for, of those that are chosen."""
    page = open_page(f"#{slug(report, 'leave_k_out')}")
    said = page.locator(".current .card").first
    method = said.inner_text().partition("owes most, by ")[2].partition(":")[0]
    assert method not in ("", "random") and said.locator(".owed img").count() == 3
    shown = [image.get_attribute("src") for image in said.locator(".owed img").all()]
    said.click()
    named = page.locator(f".current section.method[aria-label='{method}'] .targets").first.locator("img").all()
    assert [image.get_attribute("src") for image in named[:3]] == shown
    chosen = open_page(f"#{slug(report, 'leave_k_out')}/queries?method=pixel")
    assert "owes most, by pixel: " in chosen.locator(".current .card").first.inner_text()


def test_a_query_shows_what_every_method_names_and_how_sure_it_is(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/queries/s1q0")
    mucs = page.locator(".current section.method[aria-label=mucs]")
    assert mucs.locator(".targets").count() == 2  # highest and lowest
    score, *name = mucs.locator(".target").first.inner_text().splitlines()
    assert score == "9 ± 0.25" and "<!-- <script>" in " ".join(name)  # of the file
    assert "counts against it most" in mucs.inner_text() and "the standard error of a score" in mucs.inner_text()
    pixel = page.locator(".current section.method[aria-label=pixel]").inner_text()
    assert "what it owes least" in pixel and "not to what is harmful" in pixel
    race = page.locator(".current section.method[aria-label=abu]")
    assert race.locator(".targets").count() == 1 and f"decided only which {K} scores" in race.inner_text()
    removed = mucs.locator(".targets").first.locator(".target.removed")
    assert removed.count() >= K
    assert removed.first.locator("a").get_attribute("title").endswith(", removed")


def test_a_score_below_zero_is_only_called_harmful_by_a_method_that_says_so(open_page: Open, report: Path) -> None:
    words = {}
    for protocol, names in (("leave_k_out", ["mucs"]), ("removal_loss", ["pixel", "das"])):
        page = open_page(f"#{slug(report, protocol)}/queries/s1q0")
        words |= {name: page.locator(f".current section.method[aria-label={name}]").inner_text() for name in names}
    assert "One below zero counts against it" in words["mucs"]
    assert "one below zero is not harmful" in words["pixel"] and "what it owes least" in words["pixel"]
    assert "this run does not say whether one below zero counts" in words["das"]


def test_a_picture_is_enlarged_moved_and_compared(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/queries/s1q0")
    frame = page.locator(".current .frame")
    frame.focus()
    page.keyboard.press("+")
    assert frame.locator("img").evaluate("each => each.style.transform") == "translate(0%, 0%) scale(1.5)"
    page.keyboard.press("ArrowLeft")
    assert frame.locator("img").evaluate("each => each.style.transform") == "translate(10%, 0%) scale(1.5)"
    assert page.url.endswith("/s1q0")  # the arrow moved the picture alone
    page.get_by_role("button", name="Show the whole picture").click()
    assert page.locator(".current .told").inner_text() == "100 %"
    slider = page.locator(".current section.method[aria-label=mucs] input[type=range]").first
    slider.focus()
    page.keyboard.press("Home")
    over = page.locator(".current section.method[aria-label=mucs] .over").first
    assert over.evaluate("each => each.style.clipPath") == "inset(0px 100% 0px 0px)"
    assert page.url.endswith("/s1q0")


def test_two_methods_stand_side_by_side(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/queries/s1q0")
    page.locator(".current").get_by_label("Side by side").select_option("pixel")
    page.locator(".current").get_by_label("with", exact=True).select_option("mucs")
    sections = page.locator(".current .beside section.method")
    assert sections.count() == 2
    boxes = [sections.nth(index).bounding_box() for index in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    assert "highest are named by both" in page.locator(".current .answers").inner_text()
    page.reload()  # it is in the address
    assert page.locator(".current .beside section.method").count() == 2


def test_queries_are_filtered_sorted_and_searched(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/queries")
    view = page.locator(".view.current")
    view.get_by_label("Seed").select_option("2")
    assert view.locator(".card").count() == QUERIES
    view.get_by_label("Group").select_option(GROUPS[0])
    assert view.locator(".card").count() == QUERIES // len(GROUPS)
    view.get_by_label("Group").select_option("")
    view.get_by_label("Search").fill("HYPERLINK")
    assert view.locator(".card").count() == 1
    assert view.get_by_label("Search").evaluate("each => each === document.activeElement")
    view.get_by_label("Search").fill("")
    view.get_by_label("Sort by").select_option(label="mucs: ssim")
    shown = [float(text.split()[-1]) for text in view.locator(".card .small:last-child").all_inner_texts()]
    assert shown == sorted(shown) and len(set(shown)) > 1
    view.get_by_role("button", name="lowest first").click()
    again = [float(text.split()[-1]) for text in view.locator(".card .small:last-child").all_inner_texts()]
    assert again == sorted(shown, reverse=True)
    view.locator("details.methods summary").click()
    view.get_by_label("pixel").uncheck()
    view.locator(".card").first.click()
    assert page.locator(".current section.method[aria-label=mucs]").count() == 1
    assert page.locator(".current section.method[aria-label=pixel]").count() == 0


def test_tables_sort_by_keys_and_download_as_they_are_written(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/methods")
    sheet = page.locator(".current .sheet[data-sheet=table_1]")
    heading = sheet.locator("th", has_text="ssim")
    for way, sign in (("descending", -1), ("ascending", 1)):
        heading.locator("button").focus()
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == way
        shown = [float(text.rstrip("*‡§")) for text in sheet.locator("tbody td:nth-child(3)").all_inner_texts()]
        assert shown == sorted(shown, key=lambda value: sign * value)
    written = report / "tables" / slug(report, "leave_k_out")
    for words, ending in (("CSV", "csv"), ("LaTeX", "tex")):
        with page.expect_download() as saved:
            sheet.get_by_role("button", name=words).click()
        assert saved.value.suggested_filename.endswith(f"table_1.{ending}")
        assert Path(saved.value.path()).read_text() == (written / f"table_1.{ending}").read_text()


def test_the_overview_downloads_with_its_numbers_unrounded(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/methods")
    with page.expect_download() as saved:
        page.locator(".current .sheet[data-sheet=overview]").get_by_role("button", name="CSV").click()
    written = pd.read_csv(report / "table.csv").drop(columns="experiment")
    pd.testing.assert_frame_equal(pd.read_csv(saved.value.path()), written)


def test_what_was_run_can_be_repeated(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/run")
    view = page.locator(".view.current")
    assert "tdattr seed=1 'dataset=a b'" in view.inner_text()
    assert "scores/" in view.inner_text()
    assert view.locator("details.sheet", has_text="mucs, seed 1").locator(".warning").text_content() == "<b>Few</b>"


@pytest.mark.parametrize("settings", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_a_phone(
    open_page: Open, report: Path, settings: dict[str, Any]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the test extra is not installed").Axe()
    page = open_page(**settings)
    for protocol, views in {
        "leave_k_out": (
            "queries",
            "queries/s1q0",
            "queries/s1q0?a=pixel&b=mucs",
            "items",
            "items/t0",
            "methods",
            "run",
        ),
        "logo": ("queries/s1q0", "items", "items/t0"),
        "removal_loss": ("queries/s1q1",),
    }.items():
        for view in views:
            page.evaluate("hash => { location.hash = hash; }", f"{slug(report, protocol)}/{view}")
            page.wait_for_timeout(50)
            serious = [
                (each["id"], each["nodes"][0]["html"])
                for each in axe.run(page).response["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], view
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_without_a_script_the_statement_and_the_tables_are_there(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    assert page.locator(".statement").first.is_visible()
    assert page.get_by_text("It does not show what a single item does").first.is_visible()
    assert page.locator("table.overview").is_visible() and page.locator("[data-sheet=groups] table").is_visible()
    assert not page.locator(".views").first.is_visible()


def test_every_picture_and_name_is_in_the_file_once(report: Path) -> None:
    text = (report / "index.html").read_text()
    start = text.index('id="data">') + len('id="data">')
    data = json.loads(text[start : text.index("</script>", start)])
    assert len(set(data["pictures"])) == len(data["pictures"])
    removals = next(each for each in data["experiments"] if each["protocol"] == "leave_k_out")
    ids = [target["id"] for target in removals["targets"]]
    assert len(set(ids)) == len(ids) <= ITEMS
