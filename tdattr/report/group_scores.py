"""The scores of groups that a page shows as bars, where a protocol judges groups."""

from typing import Any

from tdattr.data.names import compose
from tdattr.metrics.aggregation import AggregateConfig
from tdattr.protocols.group_agreement import aggregate_scores
from tdattr.report.collect import Run
from tdattr.report.gallery import Gallery, shorten, trim
from tdattr.report.sheets.group_agreement import PROTOCOLS
from tdattr.scores import Scores, load_scores

MOST_GROUPS = 40  # with bars of their own
WHOLE = (
    "No intervals: a group's score is here the {kind} of those of all its items. They are the whole group and no "
    "sample of it, and share the models and the noise that they come from: neither their spread nor their standard "
    "errors say how sure it is. Agreement with gold does."
)
UNKNOWN = "No intervals: this method gives one score for each group and estimates no error of it."


def show_group_scores(run: Run, scores: Scores, gallery: Gallery) -> list[list[list[Any]]] | None:
    """The score of each judged group for each query, highest first, and gold's where there is one: [number, score,
    standard error, gold]; None where no groups are judged, or the scores of most items are not known."""
    if not judges_groups(run, scores) or gallery.by is None:
        return None
    gold = load_scores(run.artifact("gold")) if "gold" in run.summary["artifacts"] else None
    names = list_judged(run, scores, gold, gallery)
    if scores.groups is None:
        config = AggregateConfig(**run.config["protocol"]["aggregate"])
        values = aggregate_scores(scores, {name: gallery.members[name] for name in names}, config)
    else:
        values = scores.values.numpy()
    errors = None if scores.groups is None else scores.standard_errors
    columns = {} if gold is None else {name: column for column, name in enumerate(gold.groups or ())}
    numbers = gallery.show_groups(names)
    content = []
    for query, row in enumerate(values):
        entries = []
        for index, (name, number) in enumerate(zip(names, numbers, strict=True)):
            error = None if errors is None else float(errors[query, index])
            said = None if gold is None or name not in columns else float(gold.values[query, columns[name]])
            entries.append(trim([number, shorten(float(row[index])), shorten(error), shorten(said)]))
        content.append(sorted(entries, key=lambda entry: -(entry[1] or 0))[:MOST_GROUPS])
    return content


def judges_groups(run: Run, scores: Scores) -> bool:
    """Whether there is a score of each group: of a race only the highest items are known."""
    return run.summary["protocol"] in PROTOCOLS and scores.decided is None


def list_judged(run: Run, scores: Scores, gold: Scores | None, gallery: Gallery) -> list[str]:
    """The names of the groups that the protocol judges: of all groups those that are attributed."""
    for known in (scores, gold):
        if known is not None and known.groups is not None:
            return known.groups
    wanted = run.config.get("attributed_groups")
    if wanted is None:
        return list(gallery.members)
    composed = {compose(name) for name in wanted}
    return [name for name in gallery.members if compose(name) in composed]


def tell_intervals(run: Run, scores: Scores) -> str | None:
    """Why bars of groups have no intervals; None where they have some, or there are no bars.

    A bootstrap over the items of a group would measure how the items differ, not how sure the group's score is: nobody
    has drawn these items from more of them. Nor do the standard errors of items add up, where there are some: all items
    are scored by the same few models and the same noise.
    """
    if not judges_groups(run, scores):
        return None
    if scores.groups is None:
        return WHOLE.format(kind=run.config["protocol"]["aggregate"]["kind"].replace("_", " "))
    return UNKNOWN if scores.standard_errors is None else None
