"""The page: one self-contained HTML file, which shows every query beside what was found for it, the tables, the plots
and what was run. Its script draws what is looked at from the data in it; tables and sentences need no script."""

import base64
import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from tdattr.files import write_text
from tdattr.report.album import Album
from tdattr.report.best import rank_methods, tell_best, tell_cost
from tdattr.report.catalogue import Catalogue
from tdattr.report.collect import IMPORTED, Experiment
from tdattr.report.files import to_frame, to_latex, write_csv
from tdattr.report.methods import sort_methods
from tdattr.report.plots import draw_agreements, draw_confusions, draw_distributions
from tdattr.report.pooling import pool
from tdattr.report.provenance import trace
from tdattr.report.sheet import Sheet
from tdattr.report.sheets.group_agreement import PROTOCOLS as GROUP_PROTOCOLS
from tdattr.report.sheets.group_agreement import measure_agreement
from tdattr.report.statements import state
from tdattr.report.sweeps import find_sweeps
from tdattr.report.tables import HEADINGS, PROTOCOL, describe_marks, format_row
from tdattr.report.unjudged import Unjudged

DRAWN = ("top_1", "spearman", "ndcg_3")
PLOTTED = "Similarity between the images before and after the removal"
OVERVIEW = "overview"  # the name of the table of every method by every measure
VIEWER = Path(__file__).parent / "viewer"
SCRIPTS = (
    "dom",
    "data",
    "pictures",
    "zoom",
    "filters",
    "grid",
    "query",
    "targets",
    "target",
    "agreement",
    "tables",
    "start",
)  # in their order
Table = list[dict[str, Any]]
Made = tuple[Experiment, Table, list[Sheet]]  # an experiment, the numbers of its overview, and its tables


def write_page(path: Path, made: list[Made], unjudged: list[Unjudged], left_out: list[str]) -> None:
    """Write the page in one step; see `render`."""
    write_text(path, render(made, unjudged, left_out))


def render(made: list[Made], unjudged: list[Unjudged], left_out: list[str]) -> str:
    """The page; the newest experiment comes first, and what has no verdict last. ``left_out``: what is said of runs
    that are not shown."""
    album = Album()
    sections = [
        *(describe_experiment(*parts, album) for parts in reversed(made)),
        *(describe_unjudged(each) for each in reversed(unjudged)),
    ]
    data = {"experiments": [section.pop("data") for section in sections], "pictures": album.encode()}
    script = "".join((VIEWER / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    script = f"(() => {{\n'use strict';\n{script}}})();"
    mark = "document.documentElement.classList.add('js')"
    return open_template(Path(__file__).parent).render(
        sections=sections,
        headings=list(HEADINGS.values()),
        sweeps=find_sweeps([experiment for experiment, _, _ in made]),
        protocols={experiment.protocol for experiment, _, _ in made},
        left_out=left_out,
        style=(VIEWER / "style.css").read_text("utf-8"),
        mark=mark,
        script=script,
        hashes=" ".join(f"'{digest(text)}'" for text in (mark, script)),
        data=embed(data),
    )


def open_template(folder: Path) -> jinja2.Template:
    """That of a page, which escapes whatever is put into it."""
    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html.j2")


def digest(script: str) -> str:
    """What a content security policy allows a script by: a page that runs no other cannot be made to by a name."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def embed(data: Any) -> str:
    """JSON for a <script> element: ASCII, in which nothing can end the element or begin a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def describe_experiment(experiment: Experiment, rows: Table, sheets: list[Sheet], album: Album) -> dict[str, Any]:
    """What the template shows of one experiment, and as ``data`` what the script does."""
    pictured = experiment.unablated or list(experiment.runs)  # an ablation is a line in a table
    catalogue = Catalogue(experiment, album, sort_methods(experiment, pictured))
    downloads = {sheet.name: download(sheet) for sheet in sheets}
    if rows:
        downloads[OVERVIEW] = {"csv": to_csv(pd.DataFrame(rows)), "tex": to_latex(make_overview(rows))}
    return {
        "slug": experiment.slug,
        "title": experiment.title,
        "protocol": experiment.protocol,
        "statement": state(experiment),
        "best": tell_best(experiment, sheets),
        "cost": tell_cost(experiment),
        "notes": [*experiment.usual, *([IMPORTED] if experiment.imported else []), *experiment.noted],
        "rows": [format_row(row) for row in rows],
        "footnote": describe_marks(rows),
        "warning": experiment.far_from_data,
        "sheets": sheets,
        "plots": draw_plots(experiment, rows, pictured),
        "plotted": "Agreement on groups" if experiment.protocol in GROUP_PROTOCOLS else PLOTTED,
        "queries": len(catalogue.queries),
        "missing": catalogue.missing,
        "origins": trace(experiment),
        "config": yaml.safe_dump(experiment.config, sort_keys=False, allow_unicode=True),
        "data": catalogue.as_dict()
        | {
            "removal": describe_removal(experiment),
            "downloads": downloads,
            "ranked": list(rank_methods(experiment, sheets)),
        },
    }


def describe_unjudged(unjudged: Unjudged) -> dict[str, Any]:
    """What the template shows of runs without a verdict: nothing but tables."""
    return {
        "slug": unjudged.slug,
        "title": unjudged.title,
        "notes": unjudged.usual,
        "sheets": unjudged.sheets,
        "config": yaml.safe_dump(unjudged.config, sort_keys=False, allow_unicode=True),
        "data": {
            "slug": unjudged.slug,
            "title": unjudged.title,
            "queries": [],
            "downloads": {sheet.name: download(sheet) for sheet in unjudged.sheets},
        },
    }


def draw_plots(experiment: Experiment, rows: Table, methods: list[str]) -> list[str]:
    """The distributions behind every AUC, or how far every method agrees on groups and which it takes for which."""
    shown = [method for method in methods if method != "random"] or methods
    plots = []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        having = [method for method in shown if experiment.has_measure(method, measure)]
        if having:
            values = {method: pool(experiment, method, measure, "attributed") for method in having}
            plots.append(draw_distributions(values, measure))
    if experiment.protocol in GROUP_PROTOCOLS:
        ordered = sort_methods(experiment, methods)
        tables = {name: experiment.pool_queries(name) for name in ordered}
        plots.append(draw_agreements(measure_agreement(experiment, ordered, DRAWN), DRAWN))
        plots.append(draw_confusions(tables))
    return plots


def make_overview(rows: Table) -> Sheet:
    """The table of every method by every measure, as people read it."""
    cells = [dict(zip(HEADINGS.values(), format_row(row), strict=True)) for row in rows]
    return Sheet(OVERVIEW, "Every method by every measure", describe_marks(rows) or "", [dict(row) for row in cells])


def download(sheet: Sheet) -> dict[str, str]:
    """A table as the files that are written have it."""
    return {"csv": to_csv(to_frame(sheet)), "tex": to_latex(sheet)}


def to_csv(frame: pd.DataFrame) -> str:
    """The content of a file."""
    buffer = StringIO()
    write_csv(frame, buffer)
    return buffer.getvalue()


def describe_removal(experiment: Experiment) -> str | None:
    """What was removed before the images were generated again; None where nothing was."""
    if experiment.protocol != PROTOCOL:
        return None
    k = experiment.first(next(iter(experiment.runs))).summary.get("k", "few")
    return (
        f"For each method the {k} highest of every query, those of all queries together, were removed and one model "
        "was trained without them: the image after the removal is that model's. A red frame marks those shown here "
        "that were removed."
    )
