"""The page: one self-contained HTML file with the tables, the plots, and every query beside what was found for it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from tdattr.data.groups import list_owners
from tdattr.data.prepared import read_split
from tdattr.files import move_into_place, name_aside
from tdattr.pictures import data_uri, to_uint8
from tdattr.queries import load_images
from tdattr.report.collect import IMPORTED, UNREADABLE, Experiment, Run, describe_error
from tdattr.report.gallery import Gallery
from tdattr.report.methods import sort_methods
from tdattr.report.per_query import numeric_columns
from tdattr.report.plots import draw_agreements, draw_confusions, draw_distributions
from tdattr.report.pooling import pool
from tdattr.report.sheet import Sheet
from tdattr.report.sheets import MAKERS
from tdattr.report.sheets.group_agreement import PROTOCOLS as GROUP_PROTOCOLS
from tdattr.report.sheets.group_agreement import measure_agreement
from tdattr.report.sweeps import find_sweeps
from tdattr.report.tables import HEADINGS, PROTOCOL, describe_marks, format_row
from tdattr.report.unjudged import Unjudged
from tdattr.scores import LISTED, Scores, load_scores
from tdattr.tables import read_frame

VERDICTS = ("top_1", "spearman")  # of the protocols that judge groups
DRAWN = (*VERDICTS, "ndcg_3")
PLOTTED = "Similarity between the images before and after the removal"
MOST_OPEN = 8  # datasets whose items are kept
SHOWN = LISTED  # top attributed examples per query and method
Table = list[dict[str, Any]]
Made = tuple[Experiment, Table, list[Sheet]]  # an experiment, the numbers of its overview, and its tables


def write_page(path: Path, made: list[Made], unjudged: list[Unjudged], left_out: list[str]) -> None:
    """Write the page in one step; see `render`."""
    name_aside(path).write_text(render(made, unjudged, left_out), encoding="utf-8")
    move_into_place(name_aside(path), path)


def render(made: list[Made], unjudged: list[Unjudged], left_out: list[str]) -> str:
    """The page; the newest experiment comes first, and what has no verdict last. ``left_out``: what is said of runs
    that are not shown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        sections=[
            *(describe_experiment(*parts) for parts in reversed(made)),
            *(describe_unjudged(each) for each in reversed(unjudged)),
        ],
        headings=list(HEADINGS.values()),
        sweeps=find_sweeps([experiment for experiment, _, _ in made]),
        protocols={experiment.protocol for experiment, _, _ in made},
        left_out=left_out,
    )


def describe_experiment(experiment: Experiment, rows: Table, sheets: list[Sheet]) -> dict[str, Any]:
    """What the template shows of one experiment."""
    measures = dict.fromkeys(row["measure"] for row in rows)
    pictured = experiment.unablated or list(experiment.runs)  # an ablation is a line in a table
    shown = [method for method in pictured if method != "random"] or pictured
    plots = []
    for measure in measures:
        having = [method for method in shown if experiment.has_measure(method, measure)]
        if having:
            values = {method: pool(experiment, method, measure, "attributed") for method in having}
            plots.append(draw_distributions(values, measure))
    if experiment.protocol in GROUP_PROTOCOLS:
        plots += draw_groups(experiment, sort_methods(experiment, pictured))
    return {
        "title": experiment.title,
        "notes": [*experiment.usual, *([IMPORTED] if experiment.imported else []), *experiment.noted],
        "rows": [format_row(row) for row in rows],
        "footnote": describe_marks(rows),
        "warning": experiment.far_from_data,
        "sheets": sheets,
        "plots": plots,
        "plotted": "Agreement on groups" if experiment.protocol in GROUP_PROTOCOLS else PLOTTED,
        "removal": describe_removal(experiment),
        "seeds": [show_seed(experiment, seed, pictured) for seed in experiment.seeds],
        "config": yaml.safe_dump(experiment.config, sort_keys=False, allow_unicode=True),
    }


def describe_unjudged(unjudged: Unjudged) -> dict[str, Any]:
    """What the template shows of runs without a verdict: nothing but tables."""
    config = yaml.safe_dump(unjudged.config, sort_keys=False, allow_unicode=True)
    return {
        "title": unjudged.title,
        "notes": unjudged.usual,
        "sheets": unjudged.sheets,
        "seeds": [],
        "config": config,
    }


def draw_groups(experiment: Experiment, methods: list[str]) -> list[str]:
    """How far every method agrees on groups, and which ones it takes for which."""
    tables = {name: experiment.pool_queries(name) for name in methods}
    return [draw_agreements(measure_agreement(experiment, methods, DRAWN), DRAWN), draw_confusions(tables)]


def describe_removal(experiment: Experiment) -> str | None:
    """What was removed before the images on the right were generated; None where nothing was."""
    if experiment.protocol != PROTOCOL:
        return None
    k = experiment.first(next(iter(experiment.runs))).summary.get("k", "few")
    return (
        f"Each row shows the {SHOWN} items with the highest scores. For each method the {k} highest of every query, "
        "those of all queries together, were removed and one model was trained without them: the image on the right is "
        "that model's. A red frame marks those shown here that were removed."
    )


def show_seed(experiment: Experiment, seed: int, methods: list[str]) -> dict[str, Any]:
    """The queries of a seed and whether items, groups or both are named for them, or why they cannot be shown: pictures
    that are gone or damaged cost the tables nothing."""
    try:
        queries = show_queries(experiment, seed, methods)
    except (*UNREADABLE, IndexError) as error:
        return {"seed": seed, "queries": [], "missing": describe_error(error)}
    kinds = dict.fromkeys(method["kind"] for query in queries for method in query["methods"])
    return {"seed": seed, "queries": queries, "kinds": " or ".join(kinds), "missing": None}


def show_queries(experiment: Experiment, seed: int, methods: list[str]) -> list[dict[str, Any]]:
    """Every attributed query of a seed: its image, and for each method what it named and what its removal did."""
    runs = {method: experiment.runs[method][seed] for method in methods if seed in experiment.runs[method]}
    runs = {method: run for method, run in runs.items() if run.unpictured is None}
    if not runs:
        return []
    first = next(iter(runs.values()))
    originals = to_uint8(load_images(first.artifact("queries")))
    table = read_frame(first.artifact("queries").folder / "queries.csv")
    gallery = open_gallery(first.artifact("dataset").folder)
    conditional = gallery.split.conditions is not None
    told = "condition" if experiment.config["dataset"].get("text") is None else "prompt"
    content: list[dict[str, Any]] = []
    settings = experiment.config["queries"]
    start = settings["attributed"] if settings.get("explained") == "controls" else 0
    for query in range(start, start + first.summary["num_queries"]):
        row = table.iloc[query]
        caption = f"{told}: {row['prompt']}" if "prompt" in row and conditional else f"query {query}"
        content.append({"image": data_uri(originals[query]), "caption": caption, "methods": []})
    for method, run in runs.items():
        for entry, attribution in zip(content, show_attributions(run, gallery), strict=True):
            entry["methods"].append({"name": method, **attribution})
    return content


@lru_cache(MOST_OPEN)
def open_gallery(dataset: Path) -> Gallery:
    """The training items of a prepared dataset, which never changes."""
    return Gallery(read_split(dataset, "train"))


def show_attributions(run: Run, gallery: Gallery) -> list[dict[str, Any]]:
    """For each query: the top examples with their scores, the image regenerated without what was removed for all
    queries together, and the verdict."""
    scores = load_scores(run.artifact("scores"))
    if scores.dampings is not None:  # the best of a grid
        scores = Scores(scores.values[:, scores.dampings.index(run.summary["damping"])], scores.ids)
    if scores.groups is not None:
        return show_groups(run, scores, gallery.split)
    after = to_uint8(load_images(run.artifact("regenerated"))) if "regenerated" in run.summary["artifacts"] else None
    k = 0 if after is None else run.summary["k"]
    top = scores.top(max(k, SHOWN))
    removed = set(top[:, :k].ravel().tolist())
    values = scores.values.topk(min(SHOWN, top.shape[1]), dim=1).values.tolist()
    content = []
    for query, ids in enumerate(top[:, :SHOWN].tolist()):
        named = zip(gallery.show(ids), values[query], ids, strict=True)
        content.append(
            {
                "kind": "items",
                "after": None if after is None else data_uri(after[query]),
                "verdict": describe_verdict(run, query),
                "examples": [
                    {
                        "image": picture,
                        "score": f"{value:.3g}",
                        "label": told + ", removed" * (index in removed),
                        "removed": index in removed,
                    }
                    for (picture, told), value, index in named
                ],
            }
        )
    return content


def show_groups(run: Run, scores: Scores, split: Any) -> list[dict[str, Any]]:
    """For each query: the groups with the highest scores, each with its first item, and the verdict."""
    assert scores.groups is not None
    by = run.config["dataset"]["groups"]
    owners = [name for _, name in sorted(list_owners(split.items, by))]
    firsts = {name: owners.index(name) for name in scores.groups}
    pictures = dict(zip(firsts, to_uint8(split.images(np.array(list(firsts.values())))), strict=True))
    content = []
    for query, values in enumerate(scores.values):
        best = values.argsort(descending=True)[:SHOWN].tolist()
        examples = [
            {
                "image": data_uri(pictures[scores.groups[index]]),
                "score": f"{values[index]:.2g}",
                "name": scores.groups[index],
                "label": f"group {scores.groups[index]}",
            }
            for index in best
        ]
        content.append({"kind": "groups", "after": None, "verdict": describe_verdict(run, query), "examples": examples})
    return content


def describe_verdict(run: Run, query: int) -> str:
    """What the protocol found for a query: the main numbers of the package's protocols, all of others."""
    table = run.per_query
    if query >= len(table):
        return ""
    main = [name for name in (*run.summary.get("metrics", ()), "lds", *VERDICTS) if name in table]
    packaged = any(run.summary["protocol"] in maker.PROTOCOLS for maker in MAKERS)
    text = ", ".join(f"{name} {table[name].iloc[query]:.2f}" for name in (main if packaged else numeric_columns(table)))
    return f"{text}; gold: {table['gold'].iloc[query]}" if "gold" in table else text
