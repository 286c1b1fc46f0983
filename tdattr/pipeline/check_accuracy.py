"""What can be wrong with the accuracies of unlearning, found before the first training step."""

import hashlib
import logging

import numpy as np

from tdattr.data.groups import check_by
from tdattr.data.prepared import SPLITS
from tdattr.errors import UserError
from tdattr.pipeline.accuracy import REMEDIES, choose_items, open_classifier_setting, plan_accuracy
from tdattr.pipeline.workspace import Workspace
from tdattr.tables import DataFrame

log = logging.getLogger(__name__)
MOST_UNTOLD = 0.5  # of the images, whose conditions leave the object or the style open; ours


def check_settings(ws: Workspace) -> None:
    """Raise UserError for what is wrong whatever images the dataset holds: no styles are named, its items have no such
    field, or weights are missing or no file of weights."""
    config = ws.accuracy
    if config is None:
        return
    if ws.dataset.groups is None:
        raise UserError("accuracy needs styles: set dataset.groups to a field of the items or a manifest.")
    if config.style_classifier.by != ws.dataset.groups:
        raise UserError(
            f"accuracy.style_classifier.by={config.style_classifier.by} must be dataset.groups={ws.dataset.groups}, "
            "whose groups are forgotten: leave it out."
        )
    if not ws.setting().weightless:
        for classifier in config.classifiers.values():
            classifier.check_weights(ws.setting())
    if not ws.prepared.finished:
        check_fields(ws)


def check_fields(ws: Workspace) -> None:
    """Raise UserError where the first item of a dataset that is not prepared yet lacks the field of the styles or the
    objects; where it cannot be read, its preparation will say so."""
    assert ws.accuracy is not None
    try:
        first = next(iter(ws.dataset.source.examples(SPLITS[0])))
    except (StopIteration, UserError):
        return
    for label, classifier in ws.accuracy.classifiers.items():
        check_by(classifier.by, first.fields, f"accuracy.{label}_classifier.by", REMEDIES[label])


def check_items(ws: Workspace) -> None:
    """Raise UserError where images of styles and objects cannot be generated, or nothing would be compared."""
    config = ws.accuracy
    if config is None:
        return
    if not ws.data.condition_size:
        raise UserError(
            "accuracy needs a model that is told what to show: choose +text@dataset.text=… or dataset.source.condition."
        )
    items = choose_items(ws, config)
    for classifier in config.classifiers.values():
        classifier.identity_with_versions(ws.setting())
    missing = [name for name in ws.attributed if name not in set(items["style"])]
    if missing:
        raise UserError(f"accuracy finds no object that is drawn in group {missing[0]!r}: set accuracy.objects=null.")
    counts = {label: items[label].nunique() for label in config.classifiers}
    if min(counts.values()) < 2:
        raise UserError(
            f"accuracy needs {' and '.join(f'two {label}s' for label in counts)}, of which "
            f"{' and '.join(map(str, counts.values()))} are there: set accuracy.styles=all, accuracy.objects=null, "
            "accuracy.object_classifier.by or accuracy.object_classifier=null."
        )
    if ws.prepared.finished:  # else conditions are blank: only a plan comes here without them
        check_told(ws, items)


def check_told(ws: Workspace, items: DataFrame) -> None:
    """`check_conditions` of these items."""
    train = ws.data.train
    conditions = [train.condition(np.array([item])) for item in items["id"]]
    digests = [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in conditions if one is not None]
    check_conditions(items.assign(condition=digests))


def check_conditions(chosen: DataFrame) -> None:
    """Raise UserError where a model cannot know which object, or which style, it is to show: most of the items, whose
    columns are id, style, object and condition, have the condition of one that differs in nothing else. Of a few, which
    chance can make so, there is a warning."""
    labels = [label for label in ("object", "style") if label in chosen]
    for told in labels:
        alike = chosen.groupby([*(label for label in labels if label != told), "condition"], sort=False)[told]
        untold = chosen[alike.transform("nunique") > 1]
        if untold.empty:
            continue
        first = untold.iloc[0]
        same = chosen["condition"] == first["condition"]
        for kept in (label for label in labels if label != told):
            same &= chosen[kept] == first[kept]
        other = chosen[same & (chosen[told] != first[told])].iloc[0]
        pair = f"items {first['id']} and {other['id']} show {first[told]!r} and {other[told]!r}"
        if len(untold) > MOST_UNTOLD * len(chosen):
            raise UserError(
                f"accuracy needs a model that is told the {told}: {pair} and have equal conditions, so choose "
                "+text@dataset.text=… or a dataset.source.condition that says it."
            )
        log.warning(
            "%d of the %d images of the accuracies have conditions that leave the %s open: %s, for example.",
            len(untold), len(chosen), told, pair,
        )  # fmt: skip


def check_classifiers(ws: Workspace) -> None:
    """Raise UserError where the weights are damaged that classifiers start from which are still to be trained."""
    plan = plan_accuracy(ws)
    if ws.accuracy is None or plan is None or plan.finished:
        return
    setting = open_classifier_setting(ws, ws.accuracy)
    for classifier in ws.accuracy.classifiers.values():
        if not classifier.plan(setting).finished:
            classifier.start(setting)
