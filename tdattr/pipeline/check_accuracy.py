"""What can be wrong with the accuracies of unlearning, found before the first training step."""

import hashlib

import numpy as np

from tdattr.errors import UserError
from tdattr.pipeline.accuracy import LABELS, choose_items, open_classifier_setting, plan_accuracy
from tdattr.pipeline.workspace import Workspace
from tdattr.tables import DataFrame


def check_settings(ws: Workspace) -> None:
    """Raise UserError for what is wrong whatever the dataset holds: no styles are named, or weights are missing."""
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
        for classifier in config.classifiers:
            classifier.find_weights(ws.setting())


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
    for classifier in config.classifiers:
        classifier.identity_with_versions(ws.setting())
    missing = [name for name in ws.attributed if name not in set(items["style"])]
    if missing:
        raise UserError(f"accuracy finds no object that is drawn in group {missing[0]!r}: set accuracy.objects=null.")
    if items["style"].nunique() < 2 or items["object"].nunique() < 2:
        raise UserError(
            f"accuracy needs two styles and two objects, of which {items['style'].nunique()} and "
            f"{items['object'].nunique()} are there: set accuracy.styles=all, accuracy.objects=null or "
            "accuracy.object_classifier.by."
        )
    if ws.prepared.finished:  # else conditions are blank: only a plan comes here without them
        check_told(ws, items)


def check_told(ws: Workspace, items: DataFrame) -> None:
    """Raise UserError where the model cannot know which object, or which style, it is to show: items that differ in
    nothing else have equal conditions."""
    train = ws.data.train
    conditions = [train.condition(np.array([item])) for item in items["id"]]
    digests = [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in conditions if one is not None]
    chosen = items.assign(condition=digests)
    for told, kept in (LABELS[::-1], LABELS):
        for (name, _), rows in chosen.groupby([kept, "condition"], sort=False):
            first, *others = rows.drop_duplicates(told).to_dict("records")
            if others:
                raise UserError(
                    f"accuracy needs a model that is told the {told}: items {first['id']} and "
                    f"{others[0]['id']} of {kept} {name!r} show {first[told]!r} and {others[0][told]!r} and have equal "
                    "conditions, so choose +text@dataset.text=… or a dataset.source.condition that says both."
                )


def check_classifiers(ws: Workspace) -> None:
    """Raise UserError where the weights are damaged that classifiers start from which are still to be trained."""
    plan = plan_accuracy(ws)
    if ws.accuracy is None or plan is None or plan.finished:
        return
    setting = open_classifier_setting(ws, ws.accuracy)
    for classifier in ws.accuracy.classifiers:
        if not classifier.plan(setting).finished:
            classifier.start(setting)
