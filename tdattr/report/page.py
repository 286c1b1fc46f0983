"""The page: one self-contained HTML file with the tables, the plots, and every query beside what was found for it."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from tdattr.data.groups import manifest
from tdattr.data.prepared import read_split
from tdattr.protocols import Scores
from tdattr.report.collect import Comparison, Run
from tdattr.report.pictures import data_uri, to_uint8
from tdattr.report.plots import agreements, confusions, distributions
from tdattr.report.sheet import Sheet
from tdattr.report.sheets.group_agreement import PROTOCOL as GROUP_PROTOCOLS
from tdattr.report.sheets.group_agreement import found as agreement_found
from tdattr.report.sheets.measured import ordered
from tdattr.report.sweeps import sweeps
from tdattr.report.tables import HEADINGS, cells, pooled
from tdattr.results import load_images, load_scores

VERDICTS = ("top_1", "spearman")  # of the protocols that judge groups
DRAWN = (*VERDICTS, "ndcg_3")
PLOTTED = "Similarity between the images before and after the removal"
SHOWN = 8  # top attributed examples per query and method


def write(path: Path, comparisons: list[tuple[Comparison, list[dict[str, Any]], list[Sheet]]]) -> None:
    """Write the page; the newest comparison comes first."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    sections = [section(*found) for found in reversed(comparisons)]
    swept = sweeps([comparison for comparison, _, _ in comparisons])
    protocols = {comparison.protocol for comparison, _, _ in comparisons}
    template = environment.get_template("page.html.j2")
    text = template.render(sections=sections, headings=list(HEADINGS.values()), sweeps=swept, protocols=protocols)
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").replace(path)


def section(comparison: Comparison, table: list[dict[str, Any]], sheets: list[Sheet]) -> dict[str, Any]:
    """What the template shows of one comparison."""
    measures = dict.fromkeys(row["measure"] for row in table)
    pictured = comparison.unablated or list(comparison.runs)  # an ablation is a line in a table
    shown = [method for method in pictured if method != "random"] or pictured
    plots = []
    for measure in measures:
        having = [method for method in shown if comparison.took(method, measure)]
        if having:
            values = {method: pooled(comparison, method, measure, "attributed") for method in having}
            plots.append(distributions(values, measure))
    if comparison.protocol in GROUP_PROTOCOLS:
        plots += group_plots(comparison, ordered(comparison, pictured))
    return {
        "title": comparison.title,
        "rows": [cells(row) for row in table],
        "sheets": sheets,
        "plots": plots,
        "plotted": "Agreement on groups" if comparison.protocol in GROUP_PROTOCOLS else PLOTTED,
        "removed": comparison.protocol == "leave_k_out",
        "seeds": [{"seed": seed, "queries": queries(comparison, seed, pictured)} for seed in comparison.seeds],
        "config": yaml.safe_dump(comparison.config, sort_keys=False, allow_unicode=True),
    }


def group_plots(comparison: Comparison, methods: list[str]) -> list[str]:
    """How far every method agrees on groups, and which ones it takes for which."""
    measured = agreement_found(comparison, methods, DRAWN)
    tables = {name: pd.concat([run.similarities() for run in comparison.runs[name].values()]) for name in methods}
    return [agreements(measured, DRAWN), confusions(tables)]


def queries(comparison: Comparison, seed: int, methods: list[str]) -> list[dict[str, Any]]:
    """Every attributed query of a seed: its image, and for each method what it named and what its removal did."""
    runs = {method: comparison.runs[method][seed] for method in methods if seed in comparison.runs[method]}
    if not runs:
        return []
    first = next(iter(runs.values()))
    originals = to_uint8(load_images(first.artifact("queries")))
    table = pd.read_csv(first.artifact("queries").folder / "queries.csv", dtype=str, keep_default_na=False)
    split = read_split(first.artifact("dataset").folder, "train")
    conditional = split.conditions is not None
    content: list[dict[str, Any]] = []
    settings = comparison.config["queries"]
    start = settings["attributed"] if settings.get("explained") == "controls" else 0
    for query in range(start, start + first.summary["num_queries"]):
        row = table.iloc[query]
        caption = f"condition of: {row['prompt']}" if "prompt" in row and conditional else f"query {query}"
        content.append({"image": data_uri(originals[query]), "caption": caption, "methods": []})
    for method, run in runs.items():
        for entry, found in zip(content, attributions(run, split), strict=True):
            entry["methods"].append({"name": method, **found})
    return content


def attributions(run: Run, split: Any) -> list[dict[str, Any]]:
    """For each query: the top examples with their scores, the image regenerated without them, and the verdict."""
    scores = load_scores(run.artifact("scores"))
    if scores.dampings is not None:  # the best of a grid
        scores = Scores(scores.values[:, scores.dampings.index(run.summary["damping"])], scores.ids)
    similarities = run.similarities()
    if scores.groups is not None:
        return named_groups(run, scores, split, similarities)
    top = scores.top(SHOWN)
    values = scores.values.sort(dim=1, descending=True, stable=True).values[:, :SHOWN].tolist()
    after = to_uint8(load_images(run.artifact("regenerated"))) if "regenerated" in run.summary["artifacts"] else None
    measures = [name for name in (*run.summary.get("metrics", ()), "lds", *VERDICTS) if name in similarities]
    found = []
    for query, ids in enumerate(top):
        pictures = to_uint8(split.images(ids))
        row = similarities.iloc[query]
        found.append(
            {
                "after": None if after is None else data_uri(after[query]),
                "similarity": ", ".join(f"{name} {row[name]:.2f}" for name in measures),
                "examples": [
                    {"image": data_uri(picture), "score": f"{value:.3f}", "label": label(split.items.iloc[index])}
                    for picture, value, index in zip(pictures, values[query], ids.tolist(), strict=True)
                ],
            }
        )
    return found


def named_groups(run: Run, scores: Scores, split: Any, table: pd.DataFrame) -> list[dict[str, Any]]:
    """For each query: the groups with the highest scores, each with its first item, and the verdict."""
    assert scores.groups is not None
    by = run.config["dataset"]["groups"]
    owners = split.items[by].tolist() if by in split.items else None
    if owners is None:
        owners = [name for _, name in sorted(manifest(Path(by)))]
    firsts = {name: owners.index(name) for name in scores.groups}
    pictures = dict(zip(firsts, to_uint8(split.images(np.array(list(firsts.values())))), strict=True))
    found = []
    for query, values in enumerate(scores.values):
        best = values.argsort(descending=True)[:SHOWN].tolist()
        row = table.iloc[query]
        verdict = ", ".join(f"{name} {row[name]:.2f}" for name in VERDICTS)
        examples = [
            {
                "image": data_uri(pictures[scores.groups[place]]),
                "score": f"{values[place]:.3g}",
                "label": f"group {scores.groups[place]}",
            }
            for place in best
        ]
        found.append({"after": None, "similarity": f"{verdict}; gold: {row['gold']}", "examples": examples})
    return found


def label(item: Any) -> str:
    """What a tooltip says about a training item."""
    return f"id {item['id']}: " + (item.get("prompt") or ", ".join(str(value) for value in item.iloc[1:]))
