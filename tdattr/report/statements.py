"""What an experiment found, in sentences, and what it does not show."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tdattr.metrics.comparison import RemovalEffect
from tdattr.protocols.leaderboard import HEADINGS, order
from tdattr.report.collect import Experiment
from tdattr.report.methods import is_gold, list_measures, measure_effects, sort_methods
from tdattr.report.pooling import pool_intervals
from tdattr.report.sheets.group_agreement import measure_agreement
from tdattr.wording import counted, name_some, tell_interval

MOST_TOLD = 4  # methods with a sentence of their own
MAIN = "spearman"
SMALL = 0.1  # percent
INTERVAL = "95 % interval"
TOGETHER = (
    "It does not show what a single item does: the items of all pictures were left out together, and one retraining "
    "with each seed stands behind it."
)
LIMITS = {
    "leave_k_out": TOGETHER,
    "removal_loss": TOGETHER,
    "logo": "It does not show which items of a group matter, nor how far another training of the same model would "
    "rank the groups alike, but where a noise ceiling says so.",
    "truth": "It does not show what the model learned from: the truth is what a picture is composed of, and a model "
    "may have learned it elsewhere.",
    "lds": "It does not show what a single item does: what is predicted are losses of models trained on random parts "
    "of the data.",
    "bank": "It does not show how a method would do on other data or for another model: a bank has the queries of one "
    "model, and what was retrained for them.",
    "none": "Nothing was retrained: it does not show that any of these pictures would be different without the items "
    "that are named.",
}
LIMIT_OF_ITSELF = (
    "Nothing was retrained, and nothing says why an item depends on itself: it may be rare, labelled wrongly, or hard "
    "to draw."
)
ANY_LIMIT = "What it shows and what it does not depends on its protocol, which is none of this package's."


@dataclass(frozen=True)
class Statement:
    """``found``: a sentence per method, the best first; ``rest``: how many more there are."""

    found: list[str]
    rest: int
    limit: str


def state(experiment: Experiment) -> Statement:
    """What was found. A protocol that is not known has no sentences, only its tables."""
    tell = TELLERS.get(experiment.protocol)
    sentences = [] if tell is None else tell(experiment)
    limit = LIMIT_OF_ITSELF if experiment.itself else LIMITS.get(experiment.protocol, ANY_LIMIT)
    return Statement(sentences[:MOST_TOLD], max(0, len(sentences) - MOST_TOLD), limit)


def list_tested(experiment: Experiment) -> list[str]:
    """The methods that something is claimed for: not the random one, nor gold itself, and ablations only where there is
    nothing else."""
    methods = experiment.unablated or list(experiment.runs)
    claimed = [name for name in methods if experiment.base(name) != "random" and not is_gold(experiment, name)]
    return sort_methods(experiment, claimed)


def tell_removals(experiment: Experiment) -> list[str]:
    """By the first measure, the largest change first."""
    effects = measure_effects(experiment, list_tested(experiment))
    measures = list_measures(effects)
    if not measures:
        return []
    main = measures[0]
    having = {name: by_measure[main] for name, by_measure in effects.items() if main in by_measure}
    return [
        tell_removal(experiment, name, main, having[name])
        for name in sorted(having, key=lambda name: -having[name].auc)
    ]


def tell_removal(experiment: Experiment, method: str, measure: str, effect: RemovalEffect) -> str:
    """How far the pictures changed when what a method names was left out."""
    k = experiment.first(method).summary.get("k")
    what = f"the {counted(k, 'item')} that {method} names for each picture" if k else f"what {method} names"
    if effect.small_median:
        return (
            f"Removing {what} changes these pictures more than removing random ones in {100 * effect.auc:.0f} % of all "
            f"pairs of pictures ({measure}); 50 % would be chance."
        )
    change, width = effect.difference_percent, effect.ci95
    if effect.no_change:
        span = "" if math.isnan(width) else f" (95 % interval {show(change - width)} to {show(change + width)})"
        return (
            f"Nothing shows that removing {what} changes these pictures more than removing random ones: how like they "
            f"are to what they were ({measure}) differs by {show(change)} %{span}."
        )
    low, high = sorted((abs(change - width), abs(change + width)))
    return (
        f"Removing {what} leaves these pictures {show(abs(change))} % (95 % interval {show(low)} to {show(high)}) "
        f"{'less' if change < 0 else 'more'} like what they were ({measure}) than removing random ones does."
    )


def tell_rises(experiment: Experiment) -> list[str]:
    """How much worse models without what is named do on the pictures, the largest difference first."""
    found = {
        name: pool_intervals([run.summary["excess_percent"] for run in experiment.runs[name].values()])
        for name in list_tested(experiment)
    }
    return [tell_rise(experiment, name, found[name]) for name in sorted(found, key=lambda name: -found[name]["mean"])]


def tell_rise(experiment: Experiment, method: str, pooled: Mapping[str, Any]) -> str:
    """How much more losses rise without what a method names than without random items."""
    mean, low, high = (pooled[key] for key in ("mean", "low", "high"))
    what = f"the {counted(experiment.first(method).summary['k'], 'item')} that {method} names for each picture"
    if low is None:
        runs = [run for _, run in sorted(experiment.runs[method].items())]
        rises = name_some([f"{run.summary['excess_percent']['mean']:+.2f}" for run in runs], MOST_TOLD)
        with_seeds = f" with {counted(len(runs), 'seed')}" if len(runs) > 1 else ""
        return (
            f"Removing {what} makes losses rise by {rises} points more than removing random ones does{with_seeds}; one "
            "picture has no interval."
        )
    span = f"{mean:+.2f} points ({tell_interval(low, high, '+.2f', INTERVAL)})"
    if low > 0:
        return f"Removing {what} makes these pictures' losses rise by {span} more than removing random ones does."
    return (
        f"Nothing shows that removing {what} makes these pictures' losses rise more than removing random ones does: "
        f"the difference is {span}."
    )


def show(percent: float) -> str:
    """With one decimal place; of what is smaller the first digit that is none."""
    return f"{percent:.1f}" if abs(percent) >= SMALL or not percent else f"{percent:.1g}"


def tell_agreement(experiment: Experiment) -> list[str]:
    """How far the methods rank groups as gold does, the best first."""
    gold = "retraining without each of them" if experiment.protocol == "logo" else "what the pictures are composed of"
    values = measure_agreement(experiment, list_tested(experiment), (MAIN, "top_1"))
    sentences = []
    for name in sorted(values, key=lambda name: -values[name][MAIN]["mean"]):
        found, first = values[name][MAIN], values[name]["top_1"]["mean"]
        ceiling = f"; the noise ceiling is {found['ceiling']:.2f}" if "ceiling" in found else ""
        sentences.append(
            f"{name} ranks the groups as {gold} does with a Spearman correlation of {found['mean']:.2f} "
            f"({tell_interval(found['low'], found['high'], '.2f', INTERVAL)}{ceiling}), and puts the right group first "
            f"for {100 * first:.0f} % of the pictures."
        )
    return sentences


def tell_lds(experiment: Experiment) -> list[str]:
    """How far scores predict losses, the best first."""
    values = {
        name: pool_intervals([run.summary["lds"] for run in experiment.runs[name].values()])
        for name in list_tested(experiment)
    }
    return [
        f"The scores of {name} predict how losses on these pictures differ between models trained on random parts of "
        f"the data with a rank correlation of {values[name]['mean']:.2f} (95 % interval {values[name]['low']:.2f} to "
        f"{values[name]['high']:.2f})."
        for name in sorted(values, key=lambda name: -values[name]["mean"])
    ]


def tell_bank(experiment: Experiment) -> list[str]:
    """By the first measure of the bank that any method has, rather one that tells methods apart, the best first."""
    found = {name: experiment.first(name).summary["bank"] for name in list_tested(experiment)}  # a bank is of one seed
    ceilings = {name: values["ceiling"] for measured in found.values() for name, values in measured.items()}
    main = next((name for name in order(HEADINGS, ceilings) if name in ceilings), None)
    having = {name: measured[main] for name, measured in found.items() if main in measured}
    sentences = []
    for name, measured in sorted(having.items(), key=lambda entry: -entry[1]["mean"]):
        ceiling = measured["ceiling"]
        itself = "" if ceiling is None else f"; retraining itself reaches {ceiling:.2f}"
        span = tell_interval(measured["low"], measured["high"], ".2f", INTERVAL)
        sentences.append(f"{name} reaches {measured['mean']:.2f} by {HEADINGS[str(main)]} ({span}{itself}).")
    return sentences


def tell_scores(experiment: Experiment) -> list[str]:
    """That there is no verdict."""
    names = ", ".join(list_tested(experiment) or experiment.runs)
    if experiment.itself:
        return [f"These are the scores of {names}: how much every training item depends on itself."]
    return [f"These are the scores of {names}: which training items or groups they hold responsible."]


TELLERS: dict[str, Callable[[Experiment], list[str]]] = {
    "leave_k_out": tell_removals,
    "logo": tell_agreement,
    "truth": tell_agreement,
    "lds": tell_lds,
    "removal_loss": tell_rises,
    "bank": tell_bank,
    "none": tell_scores,
}
