"""Tables as files and in a terminal, and the command that writes them."""

import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from tdattr.report import command, page
from tdattr.report.album import Album
from tdattr.report.arguments import parse
from tdattr.report.catalogue import SHOWN, Catalogue, show_attributions
from tdattr.report.collect import collect
from tdattr.report.files import escape_latex, to_frame, to_latex, to_markdown, write_sheet
from tdattr.report.gallery import Gallery
from tdattr.report.sheet import Number, Sheet, drop_empty_columns, render_sheet
from tdattr.scores import load_scores
from tests.report.outputs import ITEMS, QUERIES, UNPICTURED, K, Outputs

SHEET = Sheet(
    "table_0",
    "Table 0: a_b",
    "Of 100 % & more; * is p < 0.01.",
    [
        {"method": "gradient_cosine", "AUC": Number(0.51234, marked=True), "Δ, %": Number(-3.26, "+.1f", 1.04)},
        {"method": "a|b", "AUC": Number(None, marked=False), "Δ, %": Number(2.0, "+.1f", float("nan"))},
    ],
    aside=("Δ, %",),
)


def test_numbers_are_shown_with_what_belongs_to_them() -> None:
    assert [str(cell) for row in SHEET.rows for cell in row.values()] == [
        "gradient_cosine", "0.512*", "-3.3 ± 1.0", "a|b", "–", "+2.0",
    ]  # fmt: skip
    assert str(Number(0.004, ".2f", below=0.01)) == "<0.01"
    assert str(Number(float("nan"))) == "–"
    assert str(Number(3, "d")) == "3"


def test_columns_with_nothing_are_left_out() -> None:
    rows = [{"a": "–", "b": Number(None), "c": Number(1.0)}, {"a": "–", "b": Number(None), "c": Number(None)}]
    assert [list(row) for row in drop_empty_columns(rows)] == [["a", "c"]] * 2


def test_the_csv_keeps_the_numbers(tmp_path: Path) -> None:
    write_sheet(tmp_path / "new", SHEET)
    table = pd.read_csv(tmp_path / "new" / "table_0.csv")
    assert list(table) == ["method", "AUC", "AUC significant", "Δ, %", "Δ, % ci95"]
    assert table["AUC"][0] == 0.51234
    assert table["AUC significant"].tolist() == [True, False]
    assert (table["Δ, %"][0], table["Δ, % ci95"][0]) == (-3.26, 1.04)
    assert table["AUC"].isna().tolist() == [False, True]
    assert to_frame(SHEET)["AUC"][0] == 0.51234
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["table_0.csv", "table_0.md", "table_0.tex"]


def test_markdown_is_a_pipe_table() -> None:
    lines = to_markdown(SHEET).splitlines()
    assert lines == [
        "**Table 0: a\\_b**",
        "",
        "| method          |     AUC |       Δ, % |",
        "|:----------------|--------:|-----------:|",
        r"| gradient_cosine | 0.512\* | -3.3 ± 1.0 |",
        r"| a\|b            |       – |       +2.0 |",
        "",
        r"Of 100 % & more; \* is p \< 0.01.",
    ]


def test_markdown_leaves_numbers_as_they_are_shown() -> None:
    sheet = Sheet("s", "t", "c", [{"queries": "012", "p": Number(1e-5, "g"), "share": Number(0.5, ".3f")}])
    assert to_markdown(sheet).splitlines()[4] == "| 012       | 1e-05 |   0.500 |"


def test_latex_is_escaped() -> None:
    text = to_latex(SHEET)
    assert r"gradient\_cosine & 0.512$^{*}$ & $-$3.3 $\pm$ 1.0 \\" in text
    assert r"method & AUC & $\Delta$, \% \\" in text
    assert r"\caption{Table 0: a\_b. Of 100 \% \& more; $^{*}$ is p $<$ 0.01.}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrr}"))
    assert escape_latex("[x] \\input{y}") == r"{[}x{]} \textbackslash{}input\{y\}"
    assert escape_latex("k\\{#$^~}") == r"k\textbackslash{}\{\#\$\textasciicircum{}\textasciitilde{}\}"
    assert escape_latex("U-C1 1e-05 (-2)") == "U-C1 1e-05 ($-$2)"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum(a)", "\t=1", "\r=1"])
def test_no_name_is_a_formula_to_a_spreadsheet(name: str, tmp_path: Path) -> None:
    sheet = Sheet("s", "t", "c", [{"method": name, name: Number(-2.0)}])
    write_sheet(tmp_path, sheet)
    table = pd.read_csv(tmp_path / "s.csv", lineterminator="\n")
    assert table["method"].tolist() == [f"'{name}"] and table[f"'{name}"].tolist() == [-2.0]


def test_a_name_with_line_breaks_is_one_row_of_every_table() -> None:
    sheet = Sheet("s", "t", "c", [{"a\nb": "c\n\nd", "`x`": "[y](z)"}])
    assert to_markdown(sheet).splitlines()[2:5:2] == [r"| a b   | \`x\`   |", r"| c d   | \[y](z) |"]
    assert r"c d & {[}y{]}(z) \\" in to_latex(sheet)


def test_a_terminal_shows_names_as_they_are_and_obeys_none() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_sheet(Sheet("s", "t", "c", [{"[/b]": "[red]a[/x]", "e": "\x1b[2Jb\r"}])))
    assert console.export_text().split() == ["[/b]", "e", "─" * 17, "[red]a[/x]", "\ufffd[2Jb\ufffd"]


def test_a_terminal_has_the_main_columns() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_sheet(SHEET))
    text = console.export_text()
    assert "0.512*" in text
    assert "Δ" not in text


def test_the_command_prints_and_writes_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(tmp_path)
    outputs.run("mucs", 1, 0.3)
    outputs.run("pixel", 1, 0.1)
    outputs.run("mucs", 1, 0.1, ablation="block")
    outputs.lds("mucs", 1)
    monkeypatch.setattr(
        "tdattr.report.catalogue.Catalogue.show_queries", lambda *_: []
    )  # pretended runs have no pictures
    command.run(parse([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]))
    printed = capsys.readouterr().out
    for words in ("Table 1: AUC", "Table 2: MUCS", "Linear datamodeling score", "table_8", "Report: ", "0.5 is chance"):
        assert words in printed
    assert "Table 6" not in printed
    command.run(parse([str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--quiet"]))
    quiet = capsys.readouterr().out
    assert "Report: " in quiet and "Table 1" not in quiet and "table_8" not in quiet
    first, second = sorted(path for path in (tmp_path / "report/tables").iterdir())
    assert re.fullmatch(r"tiny-dit-edm-lds-[0-9a-f]{6}", first.name)
    assert re.fullmatch(r"tiny-dit-edm-leave_k_out-[0-9a-f]{6}", second.name)
    names = {path.stem for path in second.iterdir()}
    assert names == {"paired", "table_1", "table_2", "table_5", "table_6", "table_7", "table_8"}
    page = (tmp_path / "report/index.html").read_text()
    for words in ("Table 1: AUC", "Table 8: overlap", "Linear datamodeling score", "Table 2, on COCO", "MUCS with one"):
        assert words in page
    assert len(pd.read_csv(tmp_path / "report/table.csv")) == 3


@pytest.mark.parametrize("lower", [0.0, 1.0])
def test_changes_from_a_small_median_have_a_mark_and_a_footnote_wherever_they_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lower: float
) -> None:
    outputs = Outputs(tmp_path)
    outputs.run("mucs", 1, 0.3, lower=lower)
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    command.run(parse([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]))
    (folder,) = (tmp_path / "report/tables").iterdir()
    texts = {
        "terminal": " ".join(capsys.readouterr().out.split()),
        "page": (tmp_path / "report/index.html").read_text(),
        "markdown": (folder / "table_5.md").read_text(),
        "latex": (folder / "table_5.tex").read_text().replace(r"$^{\dagger}$", "†"),
    }
    # in the cell and in the footnote; on the page in both tables, in one of which the mean over measures has it too
    expected = dict.fromkeys(("terminal", "markdown", "latex"), 2) | {"page": 5, "markdown": 3, "latex": 3}
    assert {name: text.count("†") for name, text in texts.items()} == (expected if lower else dict.fromkeys(texts, 0))
    assert all(("the median after random removal is below 0.01" in text) == bool(lower) for text in texts.values())
    assert pd.read_csv(tmp_path / "report/table.csv")["small_median"].tolist() == [bool(lower)]
    columns = pd.read_csv(folder / "table_5.csv").columns
    assert ("ssim footnote" in columns) == bool(lower)


def test_lds_alone_needs_no_overview(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Outputs(tmp_path).lds("mucs", 1)
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    command.run(parse([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]))
    printed = capsys.readouterr().out
    assert "tiny, dit, edm: lds, 32 subsets" in printed and "§: fewer than 10 queries stand behind it." in printed
    assert not (tmp_path / "report/table.csv").exists()
    assert (tmp_path / "report/index.html").exists()


def test_the_page_shows_the_examples_of_the_best_damping(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    table = outputs.lds("dtrak", 1, summary={"damping": 0.1})
    (experiment,) = collect([tmp_path]).experiments
    run = experiment.runs["dtrak"][1]
    scores = torch.zeros(QUERIES, 2, ITEMS)
    scores[:, 0, 7] = scores[:, 1, 9] = 0.5
    save_file({"scores": scores}, run.artifact("scores").folder / "scores.safetensors")
    (run.artifact("scores").folder / "dampings.json").write_text(json.dumps([0.01, 0.1]))
    items = pd.DataFrame({"id": range(ITEMS), "prompt": "a glyph"})
    split = SimpleNamespace(items=items, images=lambda ids: torch.zeros(len(ids), 1, 4, 4))
    gallery = Gallery(split, Album())
    catalogue = Catalogue(experiment, gallery.album, [])
    found = catalogue.show_method("dtrak", run, gallery)
    assert [gallery.targets[entry["top"][0][0]]["label"] for entry in found] == ["id 9: a glyph"] * QUERIES
    assert found[0]["top"][0][1:] == [0.5]
    assert "after" not in found[0]
    assert found[2]["verdict"] == {"lds": pytest.approx(table["lds"][2], rel=1e-3), "outcome": int(table["lds"][2] > 0)}


def test_the_page_marks_what_was_removed_and_says_for_which_queries(tmp_path: Path) -> None:
    """For its own query or for another one: the items of all are left out together."""
    outputs = Outputs(tmp_path)
    outputs.run("mucs", 1)
    (experiment,) = collect([tmp_path]).experiments
    run = experiment.runs["mucs"][1]
    run.summary["artifacts"]["regenerated"] = "regenerated/1"
    folder = tmp_path / "artifacts/regenerated/1"
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text("{}")
    save_file({"images": torch.zeros(QUERIES, 1, 4, 4)}, folder / "images.safetensors")
    items = pd.DataFrame({"id": range(ITEMS), "prompt": "a glyph"})
    split = SimpleNamespace(items=items, images=lambda ids: torch.zeros(len(ids), 1, 4, 4))
    scores, gallery = load_scores(run.artifact("scores")), Gallery(split, Album())
    top = scores.top(SHOWN)
    removed = set(top[:, :K].ravel().tolist())
    found = show_attributions(run, scores, gallery)
    shown = [[(gallery.targets[each[0]]["id"], each[3:] == [1]) for each in entry["top"]] for entry in found]
    assert shown == [[(index, index in removed) for index in row] for row in top.tolist()]
    marked = [[mark for _, mark in row] for row in shown]
    assert all(row[:K] == [True] * K for row in marked) and any(any(row[K:]) for row in marked)
    assert all(gallery.album.pictures[entry["after"]].shape == (4, 4, 3) for entry in found)
    words = page.describe_removal(experiment)
    assert words is not None and f"the {K} highest of every query, those of all queries together" in words


@pytest.mark.parametrize("name", ["../../../out", "/out", "..", "a/b", ".hidden", "日本語" * 90])
def test_a_crafted_summary_writes_nothing_outside_of_the_reports_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(tmp_path / "in")
    outputs.run("mucs", 1, dataset=name)
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    before = set(tmp_path.rglob("*"))
    command.run(parse([str(tmp_path / "in"), "--out", str(tmp_path / "report")]))
    written = set(tmp_path.rglob("*")) - before
    assert written and all((tmp_path / "report") in (path, *path.parents) for path in written)
    (folder,) = (tmp_path / "report/tables").iterdir()
    assert (folder / "table_1.csv").exists() and not folder.name.startswith(".")


def test_a_crafted_summary_has_no_artifact_outside_of_the_store_and_no_name_that_is_none(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    for wrong in ({"artifacts": {"evaluation": "../runs"}}, {"dataset": {}}, {"artifacts": {"evaluation": "a/../.."}}):
        outputs.run("mucs", 1, summary=wrong)
    outputs.run("pixel", 1)
    assert list(collect([tmp_path]).left_out.values()) == [
        "its summary has '../runs' for an artifact",
        "its summary has no dataset",
        "its summary has 'a/../..' for an artifact",
    ]


def test_a_reader_that_leaves_gets_a_page_and_no_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Outputs(tmp_path).run("mucs", 1)
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:  # closing it flushes, as the interpreter does at its end
        monkeypatch.setattr(sys, "stdout", pipe)
        command.run(parse([str(tmp_path), "--out", str(tmp_path / "report")]))
    assert (tmp_path / "report/index.html").exists()
