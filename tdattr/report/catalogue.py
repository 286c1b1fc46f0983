"""What the viewer shows of an experiment: every query, and for each method what it names and what came of it."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from tdattr.data.names import FIELD, call_query
from tdattr.data.prepared import read_split
from tdattr.pictures import to_uint8
from tdattr.queries import load_images
from tdattr.report.album import FULL, HALF, Album
from tdattr.report.collect import UNREADABLE, Experiment, Run, describe_error
from tdattr.report.gallery import Gallery, shorten, trim
from tdattr.report.group_scores import show_group_scores, tell_intervals
from tdattr.report.outcomes import AGREEMENT, OUTCOMES, describe_pictures, list_verdicts
from tdattr.scores import LISTED, Scores, choose_damping, load_scores
from tdattr.tables import read_frame

SHOWN = LISTED  # the highest scores of a query and method
LOWEST = 4  # the lowest
PAIRS = 4  # of items that share most


class Catalogue:
    """What is shown of one experiment, seed by seed."""

    def __init__(self, experiment: Experiment, album: Album, methods: list[str]) -> None:
        self.experiment, self.album = experiment, album
        self.methods: dict[str, dict[str, Any]] = {
            name: {"name": name, "seeds": sorted(experiment.runs[name])} for name in methods
        }
        self.gallery: Gallery | None = None
        self.queries: list[dict[str, Any]] = []
        self.missing: dict[int, str] = {}  # seed -> why its pictures cannot be shown
        for seed in experiment.seeds:
            try:
                self.queries += self.show_queries(seed)
            except (*UNREADABLE, IndexError) as error:
                self.missing[seed] = describe_error(error)

    @property
    def brought(self) -> bool:
        """Whether the queries are pictures of the user's."""
        return self.experiment.config.get("queries", {}).get("images") is not None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "slug": self.experiment.slug,
            "title": self.experiment.title,
            "protocol": self.experiment.protocol,
            "groups": self.experiment.config["dataset"].get("groups"),
            "items": None if self.gallery is None else len(self.gallery.seen),
            "brought": self.brought,
            "itself": self.experiment.itself,
            "outcomes": OUTCOMES.get(self.experiment.protocol),
            "methods": [self.describe_method(name) | entry for name, entry in self.methods.items()],
            "targets": [] if self.gallery is None else self.gallery.targets,
            "queries": self.queries,
        }

    def describe_method(self, name: str) -> dict[str, Any]:
        """Whether its scores are ``signed``, None where a run of an older version does not say; the noise ceiling of
        its verdicts, where they have one, and the means that stand beside it."""
        runs = self.experiment.runs[name].values()
        signed = {run.summary.get("signed") for run in runs}
        found: dict[str, Any] = {
            "base": self.experiment.base(name),
            "signed": signed.pop() if len(signed) == 1 else None,
        }
        agreements = [run.summary.get("agreement", {}) for run in runs]
        for key in ("mean", "ceiling"):
            values = {
                measure: [agreement[measure].get(key) for agreement in agreements if measure in agreement]
                for measure in AGREEMENT
            }
            known = {measure: listed for measure, listed in values.items() if listed and None not in listed}
            if known:
                found[key] = {measure: shorten(float(np.mean(listed))) for measure, listed in known.items()}
        return found

    def show_queries(self, seed: int) -> list[dict[str, Any]]:
        """Every explained query of a seed: its image, and for each method what it named and what its removal did."""
        runs = {name: self.experiment.runs[name][seed] for name in self.methods if seed in self.experiment.runs[name]}
        runs = {name: run for name, run in runs.items() if run.unpictured is None}
        if not runs:
            return []
        first = next(iter(runs.values()))
        originals = to_uint8(load_images(first.artifact("queries")))
        table = read_frame(first.artifact("queries").folder / "queries.csv")
        gallery = self.open_gallery(first)
        pictures = describe_pictures(first)
        start = first_explained(self.experiment.config["queries"])
        content: list[dict[str, Any]] = []
        for query in range(start, start + first.summary["num_queries"]):
            row = {str(name): value for name, value in table.iloc[query].items() if isinstance(value, str) and value}
            picture = self.album.add(originals[query], FULL)
            entry: dict[str, Any] = {
                "seed": seed,
                "index": query,
                "picture": picture,
                "caption": self.caption(row, query),
                "named": {},
            }
            if gallery.by in row:
                entry["group"] = row[gallery.by]
            content.append(entry | pictures.get(row.get(FIELD, ""), {}))
        for name, run in runs.items():
            number = list(self.methods).index(name)
            for entry, named in zip(content, self.show_method(name, run, gallery), strict=True):
                entry["named"][number] = named
        return content

    def caption(self, row: dict[str, str], query: int) -> str:
        """What is said of a query."""
        if self.experiment.itself:
            return "How much every training item depends on itself"
        conditional = self.gallery is not None and self.gallery.split.conditions is not None
        told = "condition" if self.experiment.config["dataset"].get("text") is None else "prompt"
        return call_query(row, query, told if conditional else None, self.brought)

    def open_gallery(self, run: Run) -> Gallery:
        """The training items, which all runs of an experiment share."""
        if self.gallery is None:
            split = read_split(run.artifact("dataset").folder, "train")
            seen = load_scores(run.artifact("scores")).ids
            self.gallery = Gallery(split, self.album, self.experiment.config["dataset"].get("groups"), seen)
        return self.gallery

    def show_method(self, name: str, run: Run, gallery: Gallery) -> list[dict[str, Any]]:
        """What a method named for each query of a run; what there is to say of all its scores is noted with the
        method."""
        scores = choose_damping(load_scores(run.artifact("scores")), run.summary)
        entry = self.methods.setdefault(name, {})
        entry["kind"] = "items" if scores.groups is None else "groups"
        known = scores.values if scores.decided is None else scores.values.topk(scores.decided).values
        sign = tell_sign(known)
        entry["sign"] = sign if entry.get("sign") in (None, sign) else "both"
        if scores.decided is not None:
            entry["decided"] = scores.decided
        if (told := tell_intervals(run, scores)) is not None:
            entry["intervals"] = told
        return show_attributions(run, scores, gallery)


def first_explained(settings: dict[str, Any]) -> int:
    """Which of the generated images is the first that is explained."""
    return int(settings["attributed"]) if settings.get("explained") == "controls" else 0


def tell_sign(values: torch.Tensor) -> str:
    """Whether scores are ``positive``, ``negative``, or ``both``."""
    if bool((values >= 0).all()):
        return "positive"
    return "negative" if bool((values <= 0).all()) else "both"


def show_attributions(run: Run, scores: Scores, gallery: Gallery) -> list[dict[str, Any]]:
    """For each query: the targets with the highest and the lowest scores, all groups where those are judged, the images
    regenerated without what was removed for all queries together, and the verdict."""
    count = scores.values.shape[1]
    order = torch.argsort(scores.values, dim=1, descending=True, stable=True)
    below = order[:, max(SHOWN, count - LOWEST) :].flip(1) if scores.decided is None else order[:, :0]
    removed = find_removed(run, scores, order)
    after = {
        key: to_uint8(load_images(run.artifact(role)))
        for key, role in (("after", "regenerated"), ("random", "regenerated_random"))
        if role in run.summary["artifacts"]
    }
    grouped, verdicts = show_group_scores(run, scores, gallery), list_verdicts(run, len(order))
    if scores.groups is None:  # all at once, which is faster than query by query
        gallery.show(scores.ids[torch.cat([order[:, :SHOWN], below], dim=1).numpy()].ravel().tolist())
    content = []
    for query in range(len(order)):
        entry: dict[str, Any] = {
            "top": list_targets(scores, gallery, query, order[query, :SHOWN], removed),
            "low": list_targets(scores, gallery, query, below[query], removed),
            "verdict": verdicts[query],
        }
        entry |= {key: gallery.album.add(images[query], HALF) for key, images in after.items()}
        if scores.twins is not None:
            entry["pairs"] = list_pairs(scores, gallery)
        content.append(entry | ({} if grouped is None else {"groups": grouped[query]}))
    return content


def list_pairs(scores: Scores, gallery: Gallery) -> list[list[Any]]:
    """The numbers of the two items of each pair that shares most, one after the other, each with what they share."""
    return [
        [number, shorten(shared)]
        for first, second, shared in scores.pairs(PAIRS)
        for number in gallery.show([first, second])
    ]


def find_removed(run: Run, scores: Scores, order: Int[torch.Tensor, "query target"]) -> set[int]:
    """The ids of the items that were left out of one retraining, for all queries together; ``order``: the columns of
    the scores, the highest first."""
    if "regenerated" not in run.summary["artifacts"] or "k" not in run.summary or scores.groups is not None:
        return set()
    return set(scores.ids[order[:, : run.summary["k"]].numpy()].ravel().tolist())


def list_targets(
    scores: Scores, gallery: Gallery, query: int, columns: torch.Tensor, removed: set[int]
) -> list[list[Any]]:
    """The number, the score, the standard error where there is one, and whether it was removed, of each target."""
    if scores.groups is None:
        ids = scores.ids[columns.numpy()].tolist()
        numbers = gallery.show(ids)
    else:
        ids = []
        numbers = gallery.show_groups([scores.groups[index] for index in columns.tolist()])
    values = scores.values[query, columns].tolist()
    errors = [None] * len(values)
    if scores.standard_errors is not None:
        errors = scores.standard_errors[query, columns].tolist()
    flags = [1 if index in removed else None for index in ids] or [None] * len(values)
    listed = zip(numbers, values, errors, flags, strict=True)
    return [trim([number, shorten(value), shorten(error), flag]) for number, value, error, flag in listed]
