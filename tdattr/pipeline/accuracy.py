"""Did unlearning do what it claims? Images of every style and object, by F1 and by the models without a group,
classified (UnlearnCanvas)."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tdattr.costs import Cost, Work
from tdattr.counterfactuals import Trained
from tdattr.data.groups import list_owners
from tdattr.features import Setting
from tdattr.features.label_classifier import Name
from tdattr.files import to_json
from tdattr.ids import digest_order
from tdattr.image_bytes import pack, unpack
from tdattr.metrics.unlearning_accuracy import UnlearningAccuracy, measure_unlearning
from tdattr.pipeline.accuracy_words import describe_accuracy, warn_guessing, warn_unreadable
from tdattr.pipeline.attribute import outline_context
from tdattr.pipeline.decode import decoded_setting, plan_decoded
from tdattr.pipeline.generate import count_evaluations, sample_from, sampling_config
from tdattr.pipeline.train import as_trained, train
from tdattr.pipeline.workspace import Workspace
from tdattr.progress import track
from tdattr.rows import Rows
from tdattr.seeding import generator
from tdattr.store import Artifact, Plan, share_out
from tdattr.tables import REBUILD, DataFrame, read_json, write_table

log = logging.getLogger(__name__)
F1 = "F1"  # among the models
REMEDIES = {"style": "", "object": ": choose one, or set accuracy.object_classifier=null"}  # where groups are no such
GENERATE = "generate"  # the stage before a method is asked
ROWS, IMAGES = "generated", "images"  # of the arrays of an artifact
BLOCK_SAMPLES = 256  # generated at a time, at least; what an interruption costs at most
RESULT = "accuracy.json"
TABLE = "accuracy.csv"  # of a run: a row for every group
NAMED = "images.csv"  # of an artifact: what the classifiers see in every image


def plan_accuracy(ws: Workspace) -> Plan | None:
    """The accuracies of F1 and of the method's models without a group; of F1 alone where the run ends before its method
    is asked. None where none are asked for. The images of every model are an artifact, which jobs share out."""
    config = ws.accuracy
    if config is None:
        return None
    setting = open_classifier_setting(ws, config)
    models = list_models(ws)
    items = choose_items(ws, config)
    plans = {name: plan_images(ws, name, model, items) for name, model in models.items()}
    classifiers = {label: classifier.plan(setting) for label, classifier in config.classifiers.items()}

    def prepare() -> dict[str, Artifact]:
        train(ws).get()  # with all threads, before they are divided among workers
        share_out(list(classifiers.values()))
        return dict(zip(plans, share_out(list(plans.values()), "Generating for the accuracies"), strict=True))

    def make(folder: Path, generated: Mapping[str, Artifact]) -> None:
        named = name_images(config, setting, generated, items)
        write_table(folder / NAMED, named)
        held_out = {label: classifier.accuracy(setting) for label, classifier in config.classifiers.items()}
        guesses = {label: classifier.guess(setting) for label, classifier in config.classifiers.items()}
        result = measure(named, list(config.classifiers)) | {"classifiers": held_out, "guesses": guesses}
        (folder / RESULT).write_text(to_json(result))

    def cost() -> Cost:
        decoded = [plan_decoded(ws)] if setting.data is not ws.data else []
        looks = len(models) * len(items) * len(config.classifiers)
        return Cost(Work(looks=looks), [*plans.values(), *decoded, *classifiers.values()])

    key = {"shown": items[list(classifiers)].to_numpy().tolist()}
    inputs = {f"images/{name}": plan.address for name, plan in plans.items()}
    inputs |= {f"classifiers/{label}": plan.address for label, plan in classifiers.items()}
    like = " ".join(f"{one.architecture} {one.size}" for one in config.classifiers.values())
    return ws.store.plan("accuracy", 2, key, inputs, make, prepare, cost=cost, like=like)


def open_classifier_setting(ws: Workspace, config: UnlearningAccuracy) -> Setting:
    """What the classifiers may use."""
    return decoded_setting(ws) if config.decoded and ws.codec.latent else ws.setting()


def list_models(ws: Workspace) -> dict[str, Trained]:
    """F1 and, by the group, the method's models without one."""
    models = {F1: as_trained(ws, train(ws))}
    if ws.until != GENERATE:
        models |= {name_without(name): m for name, m in ws.method.without(outline_context(ws, ws.method)).items()}
    return models


def name_without(group: str) -> str:
    """The name of the model without a group."""
    return f"without {group}"


def choose_items(ws: Workspace, config: UnlearningAccuracy) -> DataFrame:
    """The training items whose conditions images are generated under: columns id, style and, where objects are named,
    object, a row an image."""
    import pandas as pd

    labels = {
        label: dict(list_owners(ws.data.train.items, classifier.by, f"accuracy.{label}_classifier.by", REMEDIES[label]))
        for label, classifier in config.classifiers.items()
    }
    style_of, object_of = labels["style"], labels.get("object", {})
    objects = sorted(set(object_of.values())) or [""]  # one, of which nothing is asked
    if config.objects is not None:
        drawn = generator(ws.seed, "accuracy.objects").permutation(len(objects))[: config.objects]
        objects = [objects[index] for index in sorted(drawn)]
    styles = ws.attributed if config.styles == "attributed" else ws.groups
    members: dict[tuple[str, str], list[int]] = {}
    for item in map(int, ws.ids):
        members.setdefault((style_of[item], object_of.get(item, "")), []).append(item)
    rng = generator(ws.seed, "accuracy.items")
    rows = [
        {"id": int(item), "style": style, "object": name}
        for style in styles
        for name in objects
        if (style, name) in members
        for item in np.resize(rng.permutation(members[style, name]), config.images)  # again where there are fewer
    ]
    return pd.DataFrame(rows, columns=["id", *labels])


def plan_images(ws: Workspace, name: str, model: Trained, items: DataFrame) -> Plan:
    """The images of a model, whose name is for messages, under the conditions of these items, uint8 [image, height,
    width, channel]; each from its own seed, the same for all models."""
    ids = items["id"].to_numpy()
    shape = (ws.data.resolution, ws.data.resolution, ws.data.channels)

    def make(folder: Path) -> dict[str, Any]:
        rows, network = Rows(folder, ROWS, len(ids)), model.load()
        size = ws.queries.batch_size * -(-BLOCK_SAMPLES // ws.queries.batch_size)  # whole batches of the sampler
        starts = range(rows.done, len(ids), size)
        for start in track(starts, f"Generating for the accuracies, {name}", len(starts)):
            block = ids[start : start + size]
            rngs = [generator(ws.seed, "accuracy.sample", start + offset) for offset in range(len(block))]
            _, images = sample_from(ws, network, rngs, ws.data.train.condition(block))
            rows.write(**{IMAGES: pack(images)})
        rows.close()
        return {"batch_size": ws.queries.batch_size}  # on which the last bits of the images depend

    def cost() -> Cost:
        passes, count = count_evaluations(ws), len(ids)
        work = None if passes is None else Work(evaluations=count * passes, images=count)
        return Cost(work and replace(work, bytes=count * int(np.prod(shape))), model.plans)

    config = sampling_config(ws) | {"conditions": digest_order(ids), "data": ws.data.content}
    return ws.store.plan("prompted_images", 2, config, {"model": model.address}, make, cost=cost, like=ws.size)


def load_generated(artifact: Artifact) -> UInt8[np.ndarray, "image height width channel"]:
    """The images of a model."""
    images: np.ndarray = np.load(artifact.folder / f"{ROWS}_{IMAGES}.npy", mmap_mode="r")
    return images


def name_images(
    config: UnlearningAccuracy, setting: Setting, generated: Mapping[str, Artifact], items: DataFrame
) -> DataFrame:
    """What the classifiers see in the images of every model: columns model, id, style, object, style_named and
    object_named; without those of objects where these are not named."""
    import pandas as pd

    name_of = {label: classifier.load_names(setting) for label, classifier in config.classifiers.items()}
    tables = []
    for model, artifact in generated.items():
        images = load_generated(artifact)
        names = {f"{label}_named": list(name_each(name, images, setting)) for label, name in name_of.items()}
        table = items.assign(**names)
        table.insert(0, "model", model)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def name_each(name: Name, images: UInt8[np.ndarray, "image height width channel"], setting: Setting) -> Iterable[str]:
    """The name of each image, a batch at a time."""
    for start in range(0, len(images), setting.batch_size):
        yield from name(unpack(np.array(images[start : start + setting.batch_size])))


def measure(named: DataFrame, labels: list[str]) -> dict[str, Any]:
    """The accuracies by what was seen in the images: of F1; for every group those of the model without it, where there
    is one, and beside them what F1 comes to by the same measures; and the means of both. ``labels``: style and, where
    it is named, object."""
    named = named.assign(**{f"{label}_right": named[label] == named[f"{label}_named"] for label in labels})
    images = {str(model): table for model, table in named.groupby("model", sort=False)}
    f1 = images[F1]
    groups = []
    for group in map(str, dict.fromkeys(f1["style"])):
        row: dict[str, Any] = {"group": group, "f1": measure_images(f1, group, labels)}
        if name_without(group) in images:
            row["unlearned"] = measure_images(images[name_without(group)], group, labels)
        groups.append(row)
    compared = [row for row in groups if "unlearned" in row]
    accuracies = {label: float(f1[f"{label}_right"].mean()) for label in labels}
    result: dict[str, Any] = {"images": len(f1), "f1": accuracies, "groups": groups}
    if compared:
        result["means"] = {of: mean_measures([row[of] for row in compared]) for of in ("unlearned", "f1")}
    return result


def measure_images(table: DataFrame, group: str, labels: list[str]) -> dict[str, float]:
    """UnlearnCanvas's measures of one model's images, a group being forgotten."""
    right = {label: table[f"{label}_right"].to_numpy(bool) for label in labels}
    return measure_unlearning((table["style"] == group).to_numpy(bool), right)


def mean_measures(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def examine_accuracy(ws: Workspace, folder: Path) -> dict[str, Any]:
    """What ``plan_accuracy`` finds, for the summary, said in the log and as a table in a run's folder; nothing where
    none is asked for."""
    import pandas as pd

    plan = plan_accuracy(ws)
    if plan is None:
        return {}
    result = read_json(plan.get().folder / RESULT, REBUILD)
    rows = [
        {"group": row["group"], **row.get("unlearned", {}), **{f"f1_{key}": value for key, value in row["f1"].items()}}
        for row in result["groups"]
    ]
    write_table(folder / TABLE, pd.DataFrame(rows))
    for line in describe_accuracy(result, None if ws.until == GENERATE else ws.cfg.method.name):
        log.info("%s", line)
    result["warnings"] = [*warn_guessing(result), *warn_unreadable(result)]
    for warning in result["warnings"]:
        log.warning("Warning: %s", warning)
    return {"accuracy": result}
