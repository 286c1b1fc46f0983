"""Table 1 of the MUCS paper: the AUC of every method by every measure."""

from collections.abc import Mapping

from tdattr.metrics.comparison import RemovalEffect
from tdattr.report.collect import Experiment
from tdattr.report.methods import (
    ASIDE,
    category,
    choose_averaged,
    credit_paper,
    explain_marks,
    list_measures,
    list_methods,
    measure_effects,
    read_paper_columns,
    show_auc,
)
from tdattr.report.papers import DATASETS, MEAN, read_number
from tdattr.report.pooling import mean_or_none, p_value_against
from tdattr.report.sheet import Cell, Number, Sheet, drop_empty_columns

PROTOCOLS: tuple[str, ...] = ("leave_k_out",)
LEVEL = 0.01  # of significance


def make_sheet(experiment: Experiment) -> Sheet | None:
    """A row per method but the random one."""
    effects = measure_effects(experiment, list_methods(experiment))
    if not effects:
        return None
    measures = list_measures(effects)
    ahead = {measure: find_outstanding(experiment, effects, measure) for measure in measures}
    published = experiment.dataset in DATASETS
    rows: list[dict[str, Cell]] = []
    for method, by_measure in effects.items():
        aucs = {measure: result.auc for measure, result in by_measure.items()}
        base = experiment.base(method)
        row: dict[str, Cell] = {"method": method, "categ.": category(experiment, method)}
        row |= {m: show_auc(by_measure.get(m), method == ahead[m]) for m in measures}
        row |= {
            "μ": Number(mean_or_none(aucs.get(m) for m in choose_averaged(measures))),
            "seeds": Number(len(experiment.runs[method]), "d"),
        }
        if published:
            row |= read_paper_columns("table_1", dataset=experiment.dataset, method=base)
        else:
            row |= {
                f"paper: {name}": read_number("table_1", dataset=name, method=base, measure=MEAN) for name in DATASETS
            }
        rows.append(row)
    beside = (
        f"its numbers on {experiment.dataset}"
        if published
        else "its μ on other datasets, as this one is not among them"
    )
    caption = (
        "AUC of the similarities after the removal of what a method named, against those after random removal, pooled "
        f"over seeds; μ is the mean over {', '.join(choose_averaged(measures))}. MA: model-agnostic, IF: by influence "
        "functions, U: by unlearning. *: the best method's similarities lie below those of the next best by AUC "
        f"(p < {LEVEL}, one-tailed Mann-Whitney U, over the seeds of both); other settings of the same method, "
        f"ablations and ensembles are not its rivals."
    )
    caption += explain_marks(effects) + credit_paper(rows, f"Table 1, {beside}")
    aside = ("categ.", "seeds", *ASIDE, *(f"paper: {name}" for name in DATASETS))
    title = f"Table 1: AUC (*: better than the next best, p < {LEVEL})"
    return Sheet("table_1", title, caption, drop_empty_columns(rows, keep=2), aside=aside)


def find_outstanding(
    experiment: Experiment, effects: Mapping[str, Mapping[str, RemovalEffect]], measure: str
) -> str | None:
    """The best method by a measure, where it is significantly better than the closest other one."""
    aucs = {method: by_measure[measure].auc for method, by_measure in effects.items() if measure in by_measure}
    best = max(aucs, key=lambda method: aucs[method])
    others = [method for method in aucs if experiment.base(method) != experiment.base(best)]
    if not others:
        return None
    p_value = p_value_against(experiment, best, max(others, key=lambda method: aucs[method]), measure)
    return best if p_value is not None and p_value < LEVEL else None
