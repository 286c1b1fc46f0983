"""How an attribution by unlearning shows that it went wrong: warnings, each with what to change."""

import logging
from collections.abc import Mapping

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from tdattr.unlearning.group import GroupUnlearnConfig

log = logging.getLogger(__name__)
HARDLY_WARM = 0.05  # of the warm-up; the published ReTrack runs reach 0.23 of it
NOTHING = 1e-3  # nats
COLLAPSED = 1.5  # times the retained loss at the start
START, END = 0.05, 0.2  # of an unlearning: what is compared
ENOUGH = 40  # steps of the log
MOST = 0.5  # of the queries
ALIKE = 0.15  # of the mean score of a query: how far its scores lie apart
FEW = 8  # queries of which nothing is concluded


def warn_of_warm_up(steps: int, config: GroupUnlearnConfig) -> None:
    """Warn before an unlearning of so many steps at most that never leaves its warm-up."""
    if steps < HARDLY_WARM * config.warmup_steps:
        log.warning(
            "Unlearning ends after at most %d steps, far inside its warm-up: lower method.unlearn.warmup_steps=%d.",
            steps,
            config.warmup_steps,
        )


def warn_of_failures(
    scores: Float[Tensor, "query group"], logs: Mapping[str, pd.DataFrame], config: GroupUnlearnConfig
) -> None:
    """Warn of an unlearning that changed nothing, destroyed what was to be kept, made queries more likely, or did the
    same to all groups or queries. ``logs``: by group, the parts of the loss along the way.
    """
    if float(scores.abs().max()) < NOTHING:
        log.warning(
            "Unlearning changed nothing: no score is larger than %g nats. Raise method.unlearn.learning_rate.", NOTHING
        )
    collapsed = [name for name, factor in growths(logs, config).items() if factor is not None and factor > COLLAPSED]
    if collapsed:
        log.warning(
            "The loss on what was to be kept grew more than %g times while unlearning %d of %d groups, %s first: lower "
            "method.unlearn.learning_rate or the objective's weight.",
            COLLAPSED,
            len(collapsed),
            len(logs),
            collapsed[0],
        )
    if len(scores) < FEW:
        return
    if float((scores.amax(1) <= 0).float().mean()) > MOST:
        log.warning(
            "Most queries are at least as likely without any of the groups as with all: forgetting has become training "
            "on what was to be forgotten (see kl_cap and weight of the objective), or on what is kept."
        )
    spread = (scores.amax(1) - scores.amin(1)) / scores.abs().mean(1).clamp(min=NOTHING)
    if float(spread.median()) < ALIKE:
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


def growths(logs: Mapping[str, pd.DataFrame], config: GroupUnlearnConfig) -> dict[str, float | None]:
    """By group, how many times the retained loss grew; nothing where it is a distance from F1, which begins at zero."""
    return {name: growth(table) for name, table in logs.items()} if config.retain == "loss" else {}


def growth(table: pd.DataFrame) -> float | None:
    """How many times the retained loss at the start it is at the end, each a mean over steps; None where there are too
    few of them to tell."""
    if len(table) < ENOUGH:
        return None
    start, end = (int(part * len(table)) for part in (START, END))
    losses = table["retain"]
    return float(losses.tail(end).mean() / losses.head(start).mean())
