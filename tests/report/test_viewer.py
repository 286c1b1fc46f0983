"""The page in a real browser: what its script does with the data of pretended runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdattr.report import command
from tests.report.outputs import ITEMS, QUERIES, K, Outputs
from tests.report.pictured import add_pictures

pytestmark = pytest.mark.slow

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<!-- <script> \u2028 & \"quoted\" 'single'",
    '"><img src=x onerror="window.broken = 1">',
    '=HYPERLINK("http://example.org")',
    r"$\frac{a}{b}$ \input{x} 100 % _",
    "plain {{ 7 * 7 }} ${window.broken = 1}",
)
GROUPS = ("<b>bold</b>", "thin & wide", "日本語")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two methods on two seeds judged by removal, and of two judged on groups."""
    outputs = Outputs(tmp_path_factory.mktemp("viewer"))
    rng = np.random.default_rng(0)
    for seed in (1, 2):
        outputs.run("pixel", seed, 0.1)
        add_pictures(outputs, HOSTILE, GROUPS, rng.uniform(0, 1, (QUERIES, ITEMS)))
        outputs.run("mucs", seed, 0.4, settings={"name": "mucs"})
        scores = rng.normal(size=(QUERIES, ITEMS))
        scores[:, 7] = 9.0  # a hub
        add_pictures(outputs, HOSTILE, GROUPS, scores, np.full((QUERIES, ITEMS), 0.25))
        outputs.run("abu", seed, 0.2)
        add_pictures(outputs, HOSTILE, GROUPS, rng.normal(size=(QUERIES, ITEMS)), decided=K)
    gold = rng.random((QUERIES, len(GROUPS)))
    aggregate = {"kind": "mean", "top": 3, "positive_only": False}
    for name in ("pixel", "tracin"):
        found = rng.random((QUERIES, len(GROUPS)))
        protocol = {"name": "logo", "aggregate": aggregate}
        outputs.groups(name, 1, gold, found, ceiling=gold, names=GROUPS, protocol=protocol)
        add_pictures(outputs, HOSTILE, GROUPS)
    command.write([outputs.root / "runs"], outputs.root / "report")
    return outputs.root / "report"


Open = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any, report: Path) -> Iterator[Open]:
    """Opens an address of the page. What the page complains of, asks a network for, or lets a name do is an error."""
    complaints: list[str] = []
    contexts = []

    def start(address: str = "", **settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1200, "height": 800}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if is_remote(request.url) else None)
        page.goto(f"file://{report}/index.html{address}")
        return page

    yield start
    for context in contexts:
        broken = [page.evaluate("window.broken") for page in context.pages]
        context.close()
        assert broken == [None] * len(broken)
    assert complaints == []


def is_remote(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def slug(report: Path, protocol: str) -> str:
    """The part of an address that names an experiment."""
    return next(path.name for path in (report / "tables").iterdir() if f"-{protocol}-" in path.name)


def test_one_walks_through_the_queries_by_keys_and_back(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}")
    cards = page.locator(".current .card")
    assert cards.count() == 2 * QUERIES
    assert cards.first.locator(".words").inner_text() == f"condition: {HOSTILE[0]}"
    cards.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_url("**/queries/s1q0")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/queries/s1q1")
    heading = page.locator(".current .subject h3")
    assert "<!-- <script>" in heading.inner_text()
    assert heading.evaluate("each => each === document.activeElement")  # what a screen reader says next
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/queries/s1q0")
    page.go_back()
    page.wait_for_url("**/queries/s1q1")
    page.keyboard.press("Escape")
    page.wait_for_url("**/queries")
    assert cards.count() == 2 * QUERIES


def test_a_query_shows_what_every_method_names_and_how_sure_it_is(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/queries/s1q0")
    mucs = page.locator(".current section.method[aria-label=mucs]")
    assert mucs.locator(".targets").count() == 2  # highest and lowest
    assert mucs.locator(".target").first.inner_text() == "9 ± 0.25"
    assert "counts against it most" in mucs.inner_text() and "the standard error of a score" in mucs.inner_text()
    pixel = page.locator(".current section.method[aria-label=pixel]").inner_text()
    assert "what it owes least" in pixel and "not to what is harmful" in pixel
    race = page.locator(".current section.method[aria-label=abu]")
    assert race.locator(".targets").count() == 1 and f"decided only which {K} scores" in race.inner_text()
    removed = mucs.locator(".targets").first.locator(".target.removed")
    assert removed.count() >= K
    assert removed.first.locator("a").get_attribute("title").endswith(", removed")


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


def test_items_say_which_pictures_owe_them_and_hubs_come_first(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/items")
    first = page.locator(".view.current .hubs tbody tr").first
    assert first.locator("td").nth(0).inner_text().startswith("id 7: ")
    assert first.locator("td").nth(1).inner_text() == f"{2 * QUERIES} (100 %)"
    diagonal = page.locator(".view.current .matrix tbody tr").nth(0).locator("td").nth(0)
    assert diagonal.inner_text() == "100 %"
    first.locator("a").click()
    assert "of 3 methods say so" in page.locator(".view.current .answers").inner_text()
    row = page.locator(".view.current .hubs tbody tr").first.locator("td")
    assert row.nth(1).inner_text() == "mucs" and row.nth(4).inner_text() == "± 0.25"
    row.nth(0).locator("a").click()
    page.wait_for_url("**/queries/s1q0*")


def test_groups_are_bars_beside_the_ceiling(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'logo')}/queries/s1q0")
    section = page.locator(".current section.method[aria-label=tracin]")
    assert sorted(section.locator(".bars a").all_inner_texts()) == sorted(GROUPS)
    assert "noise ceiling" in section.locator(".verdict").inner_text()
    assert section.locator(".meter .ceiling").count() > 0
    assert section.locator(".bars .first").count() == 1


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


def test_what_was_run_can_be_repeated(open_page: Open, report: Path) -> None:
    page = open_page(f"#{slug(report, 'leave_k_out')}/run")
    view = page.locator(".view.current")
    assert "tdattr seed=1 'dataset=a b'" in view.inner_text()
    assert "scores/" in view.inner_text()


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
        "logo": ("queries/s1q0", "items"),
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
    assert page.get_by_text("It does not show what a single item does").is_visible()
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
