"""Ten questions that artists, auditors and researchers ask: the page answers each of them within three clicks."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.report.viewed import GROUPS, Open, slug

pytestmark = pytest.mark.slow
MOST_CLICKS = 3
CARD = ".card"  # the first picture
GROUP = f".hubs a:has-text('group {GROUPS[1]}')"


def tab(name: str) -> str:
    """A view of the page."""
    return f".views a:has-text('{name}')"


# what is asked, of the runs of which protocol, what is clicked one after the other, what is then read
QUESTIONS: list[tuple[str, str, Sequence[str], Sequence[str]]] = [
    (
        "Which three pictures owe this typeface most, and how sure is that?",
        "logo",
        [tab("Items and groups"), GROUP],
        ["Pictures that owe it most, by guda_u", "95 % interval", "7.51 to 8.49", "right group first"],
    ),
    (
        "Which training pictures made this one?",
        "leave_k_out",
        [CARD],
        ["Highest scores: the items that it owes most", "the standard error of a score"],
    ),
    (
        "Is that more than chance?",
        "leave_k_out",
        [CARD],
        ["changed more than after the random removal", "without random items"],
    ),
    (
        "Which method is best here, and is that significant?",
        "leave_k_out",
        [tab("Methods")],
        ["is the best of 3 methods", "significant (p = "],
    ),
    (
        "What would this picture be without them?",
        "leave_k_out",
        [CARD],
        ["Before and after the removal", "without what mucs names", "without random items"],
    ),
    (
        "Which training picture is attributed everywhere?",
        "leave_k_out",
        [tab("Items and groups")],
        ["id 7: ", "12 (100 %)", "is a hub"],
    ),
    (
        "Do two methods agree?",
        "leave_k_out",
        [tab("Items and groups")],
        ["Overlap between methods", "Two random lists would"],
    ),
    (
        "Could the model have made this picture at all?",
        "removal_loss",
        [".card:has-text('mine/1.png')"],
        ["This model can hardly have made such a picture"],
    ),
    ("What did it cost?", "removal_loss", [tab("Methods")], ["Seconds per query: pixel 0.50, das 0.50; on cpu."]),
    ("Which command repeats it?", "leave_k_out", [tab("What was run")], ["tdattr seed=1 'dataset=a b'"]),
]


@pytest.mark.parametrize(("question", "protocol", "clicks", "answers"), QUESTIONS, ids=[each[0] for each in QUESTIONS])
def test_a_question_is_answered_in_three_clicks(
    question: str, protocol: str, clicks: Sequence[str], answers: Sequence[str], open_page: Open, report: Path
) -> None:
    page = open_page()
    if page.locator(".experiment.current").get_attribute("data-slug") != slug(report, protocol):
        page.goto(page.url.partition("#")[0] + f"#{slug(report, protocol)}")
    shown = page.locator(".experiment.current")
    for selector in clicks:
        shown.locator(selector).first.click()
    assert len(clicks) <= MOST_CLICKS
    for text in answers:
        shown.get_by_text(text).filter(visible=True).first.wait_for()


def test_the_documentation_lists_the_same_questions() -> None:
    text = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    asked = [cell for cell in cells if cell.endswith("?")]
    assert asked == [question for question, *_ in QUESTIONS]
