"""How an attribution by unlearning shows that it went wrong: warnings, each with what to change."""

import logging
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from tdattr.tables import DataFrame
from tdattr.training.config import TrainConfig
from tdattr.unlearning.group import GroupUnlearnConfig

log = logging.getLogger(__name__)
MIN_WARM_UP_SHARE = 0.05  # that an unlearning should reach; the published ReTrack runs reach 0.23
NEGLIGIBLE_NATS = 1e-3
COLLAPSE_FACTOR = 1.5  # of the retained loss at the end over that at the start
START_SHARE, END_SHARE = 0.05, 0.2  # of the logged steps whose losses are compared
MIN_LOGGED_STEPS = 40  # below which no growth is measured
MAJORITY = 0.5  # of the queries
MIN_SPREAD = 0.15  # of a query's scores, relative to their mean size
STEPS_SHARE, RATE_SHARE, WARM_UP_SHARE = 0.04, 0.15, 0.1  # of the training's, as in conf/recipe/own.yaml
FASTER = 3  # times the rate that was too low
MIN_QUERIES = 8  # below which nothing is concluded from queries


def warn_of_warm_up(steps: int, config: GroupUnlearnConfig) -> None:
    """Warn, before an unlearning of at most ``steps``, that it never leaves its warm-up."""
    if steps < MIN_WARM_UP_SHARE * config.warmup_steps:
        log.warning(
            "Unlearning ends after at most %d steps, far inside its warm-up: lower method.unlearn.warmup_steps=%d.",
            steps,
            config.warmup_steps,
        )


def suggest_overrides(config: GroupUnlearnConfig, train: TrainConfig, items: int) -> str:
    """What to try after an unlearning that changed nothing: a share of the training's steps and rate (on so many
    ``items``) or, where that was run, a higher rate."""
    steps, rate = round(STEPS_SHARE * train.count_steps(items)), RATE_SHARE * train.learning_rate
    steps = max(1, steps, config.length if config.unit == "step" else 0)
    values = {
        "epochs": "null",
        "steps": steps,
        "learning_rate": f"{rate if rate > config.learning_rate else FASTER * config.learning_rate:.1e}",
        "warmup_steps": round(WARM_UP_SHARE * steps),
    }
    if config.schedule != "constant":
        values["schedule_steps"] = "null"
    return " ".join(f"method.unlearn.{name}={value}" for name, value in values.items())


def warn_of_failures(
    scores: Float[Tensor, "query group"],
    logs: Mapping[str, DataFrame],
    config: GroupUnlearnConfig,
    train: TrainConfig,
    items: int,
) -> None:
    """Warn of an unlearning that changed nothing, destroyed what was to be kept, made queries more likely, or did the
    same to all groups or queries. ``logs``: by group, the parts of the loss along the way; ``train``: how F1 was
    trained on so many ``items``.
    """
    if float(scores.abs().max()) < NEGLIGIBLE_NATS:
        log.warning(
            "Unlearning changed nothing: no score is larger than %g nats. For this training, set %s.",
            NEGLIGIBLE_NATS,
            suggest_overrides(config, train, items),
        )
    collapsed = [
        name for name, factor in growths(logs, config).items() if factor is not None and factor > COLLAPSE_FACTOR
    ]
    if collapsed:
        log.warning(
            "The loss on what was to be kept grew more than %g times while unlearning %d of %d groups, %s first: lower "
            "method.unlearn.learning_rate or the objective's weight.",
            COLLAPSE_FACTOR,
            len(collapsed),
            len(logs),
            collapsed[0],
        )
    if len(scores) < MIN_QUERIES:
        return
    if float((scores.amax(1) <= 0).float().mean()) > MAJORITY:
        log.warning(
            "Most queries are at least as likely without any of the groups as with all: forgetting has become training "
            "on what was to be forgotten (see kl_cap and weight of the objective), or on what is kept."
        )
    spread = (scores.amax(1) - scores.amin(1)) / scores.abs().mean(1).clamp(min=NEGLIGIBLE_NATS)
    if float(spread.median()) < MIN_SPREAD:
        log.warning(
            "The scores of a query hardly differ between groups (by %.0f %% of their mean): the model moved because it "
            "was trained further, not by what was forgotten. Raise the objective's weight or choose another objective.",
            100 * float(spread.median()),
        )
    names = list(logs)
    first = scores.argmax(1)
    if len(names) > 2 and bool((first == first[0]).all()):
        log.warning(
            "All queries name the group %s: unlearning it has hurt everything. Compare the losses in its log.csv.",
            names[int(first[0])],
        )


def growths(logs: Mapping[str, DataFrame], config: GroupUnlearnConfig) -> dict[str, float | None]:
    """By group, the growth of the retained loss; empty where that is a distance from F1, which begins at zero."""
    return {name: growth(table) for name, table in logs.items()} if config.retain == "loss" else {}


def growth(table: DataFrame) -> float | None:
    """The retained loss at the end over that at the start, each a mean over logged steps; None where too few steps were
    logged to tell."""
    if len(table) < MIN_LOGGED_STEPS:
        return None
    start, end = (int(part * len(table)) for part in (START_SHARE, END_SHARE))
    losses = table["retain"]
    return float(losses.tail(end).mean() / losses.head(start).mean())
