"""What the tables have in common: which methods they list, in which order, and what was measured of them."""

from collections.abc import Collection, Iterable, Mapping

from tdattr.metrics import unlearning_accuracy
from tdattr.metrics.comparison import MARK, RemovalEffect, compare, explain
from tdattr.report.collect import Experiment
from tdattr.report.papers import MEAN, MEASURES, SOURCE, read_number
from tdattr.report.pooling import pool
from tdattr.report.sheet import NOTHING, Cell, Number, list_marks

CATEGORIES = {  # in the paper's order: model-agnostic, by influence functions, by unlearning
    "random": NOTHING,
    "pixel": "MA",
    "condition": "MA",
    "features": "MA",
    "clip": "MA",
    "dino": "MA",
    "tracin": "IF",
    "tracin_training": "IF",
    "source": "IF",
    "gradient_cosine": "IF",
    "trak": "IF",
    "journey_trak": "IF",
    "dtrak": "IF",
    "das": "IF",
    "ekfac": "IF",
    "metagradient": "IF",
    "forward_inf": "U",
    "abu": "U",
    "mucs": "U",
}
ENSEMBLE = "ensemble_"
GOLD = "logo"  # the method that retrains without each group, and the protocol that judges by it


def list_methods(experiment: Experiment, random: bool = False) -> list[str]:
    """The methods, with or without the random one, but no ablations and ensembles, which have tables of their own."""
    methods = [method for method in experiment.unablated if not experiment.base(method).startswith(ENSEMBLE)]
    return sort_methods(experiment, [method for method in methods if random or experiment.base(method) != "random"])


def sort_methods(experiment: Experiment, methods: Iterable[str]) -> list[str]:
    """The methods in the paper's order, and then those that it has not."""
    order = list(CATEGORIES)

    def sort_key(method: str) -> tuple[int, str]:
        kind = family(experiment, method)
        return order.index(kind) if kind in order else len(order), method

    return sorted(methods, key=sort_key)


def is_gold(experiment: Experiment, method: str) -> bool:
    """Whether a method is what all are judged by."""
    return experiment.protocol == GOLD == experiment.base(method)


def family(experiment: Experiment, method: str) -> str:
    """The name that a method has whatever its settings and its extractor."""
    return experiment.base(method).split("-")[0]


def category(experiment: Experiment, method: str) -> str:
    """MA, IF or U."""
    return CATEGORIES.get(family(experiment, method), NOTHING)


def measure_effects(experiment: Experiment, methods: Collection[str]) -> dict[str, dict[str, RemovalEffect]]:
    """For each method, the verdict by every measure that all its runs took."""
    return {
        method: {
            measure: compare(*pool(experiment, method, measure, "attributed"))
            for measure in experiment.measures
            if experiment.has_measure(method, measure)
        }
        for method in methods
    }


def show_auc(result: RemovalEffect | None, marked: bool | None = None) -> Number:
    """An AUC with the marks of the footnotes that it needs; nothing where there is none."""
    return Number(None) if result is None else Number(result.auc, marked=marked, footnote=marks_of_auc(result) or None)


def marks_of_auc(result: RemovalEffect) -> str:
    """Those of its marks that its AUC has too: a small median is the change's affair."""
    return result.marks.replace(MARK, "")


def explain_marks(effects: Mapping[str, Mapping[str, RemovalEffect]]) -> str:
    """The end of a caption: the footnotes of the marks that the results have."""
    results = [result for by_measure in effects.values() for result in by_measure.values()]
    footnotes = explain("".join(map(marks_of_auc, results)))
    return f" {footnotes}" if footnotes else ""


def explain_footnotes(rows: Iterable[Mapping[str, Cell]]) -> str:
    """The end of a caption: the footnotes of the marks that the cells have."""
    footnotes = explain_all(list_marks(rows))
    return f" {footnotes}" if footnotes else ""


def explain_all(marks: str) -> str:
    """The footnotes of the marks in a text, of verdicts and of accuracies."""
    return " ".join(filter(None, [explain(marks), unlearning_accuracy.explain_marks(marks)]))


def list_measures(effects: Mapping[str, Mapping[str, RemovalEffect]]) -> list[str]:
    """The measures that any of the methods has, the paper's first."""
    names = dict.fromkeys(measure for by_measure in effects.values() for measure in by_measure)
    return sorted(names, key=lambda name: MEASURES.index(name) if name in MEASURES else len(MEASURES))


def choose_averaged(measures: list[str]) -> list[str]:
    """The measures that μ is the mean of: the paper's four where all of them were taken, otherwise what was taken."""
    return list(MEASURES) if set(MEASURES) <= set(measures) else measures


def read_paper_columns(table: str, last: str = MEAN, form: str = ".3f", **where: str) -> dict[str, Cell]:
    """The paper's numbers for its four measures, and the column that it ends with."""
    headings = {MEAN: "paper: μ", "delta": "paper: Δ, %"}
    columns: dict[str, Cell] = {f"paper: {name}": read_number(table, form, measure=name, **where) for name in MEASURES}
    return columns | {headings[last]: read_number(table, "+.1f" if last == "delta" else form, measure=last, **where)}


def credit_paper(rows: list[dict[str, Cell]], where: str) -> str:
    """The end of a caption: where the paper's numbers are from, if the rows have any."""
    cells = [cell for row in rows for column, cell in row.items() if column.startswith("paper")]
    return f" paper: {SOURCE}, {where}." if any(str(cell) != NOTHING for cell in cells) else ""


ASIDE = tuple(f"paper: {measure}" for measure in MEASURES)
