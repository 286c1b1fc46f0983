"""Finished runs, brought together: what was run under the same settings is pooled over its seeds."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tdattr.errors import UserError
from tdattr.experiments import ITSELF, experiment_key, name_experiment
from tdattr.metagradients.describe import tell_smoothness
from tdattr.metrics.unlikely import warn_unlikely
from tdattr.report.arguments import ACCURACY, SUMMARY, find_named, no_run
from tdattr.report.naming import flatten, name_runs, tell_apart, tell_usual, variant_settings
from tdattr.scoring.describe import tell_allocation
from tdattr.store import Artifact, find
from tdattr.tables import read_table
from tdattr.unlearning.capped import tell_capped
from tdattr.wording import counted

REQUIRED = dict.fromkeys(("dataset", "model", "diffusion", "method", "protocol"), "text")
REQUIRED |= dict.fromkeys(("seed", "num_queries", "seconds_per_query"), "number")
ARTIFACT = re.compile(r"[\w-]+/[\w-]+")  # stage/address: nothing that leads out of the store
CONFIG = "config.yaml"
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
KINDS: dict[str, Any] = {"text": str, "number": (int, float)}
# of files that are missing or damaged
UNREADABLE = (UserError, OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError)
UNJUDGED = "none"  # the protocol that shows scores
PICTURED = ("queries", "dataset", "scores", "regenerated")  # artifacts that the page shows
UNFINISHED = "not finished"
# protocols whose tables mark what their runs warn of
MARKED = ("leave_k_out", "logo", "truth", "lds", "removal_loss", UNJUDGED)
REPLACED = "a newer run has the same settings and seed"
TEXTS = ("gold", "named")  # columns of names of groups, which tables of older versions do not quote
IMPORTED = (
    "F1 is a checkpoint that was not trained here. Whatever was retrained started afresh, with the steps of the "
    "recipe: it is a counterfactual of this recipe, not of the checkpoint's own training."
)


@dataclass(frozen=True)
class Run:
    """One finished run: its folder, its summary, and its composed config."""

    folder: Path
    summary: dict[str, Any]
    config: dict[str, Any]

    @cached_property
    def found(self) -> dict[str, Artifact]:
        """Those of its artifacts that were looked for and are there, by their names."""
        return {}

    def artifact(self, role: str) -> Artifact:
        """An artifact of the run by its role, for example ``queries``."""
        name = self.summary["artifacts"][role]
        if name in self.found:
            return self.found[name]
        if not ARTIFACT.fullmatch(name):
            raise ValueError(f"its summary has {name!r} for an artifact")
        roots = [Path(self.config["paths"]["artifacts"]), *(parent / "artifacts" for parent in self.folder.parents)]
        root = next((root for root in roots if (root / name).is_dir()), roots[0])
        self.found[name] = find(root, name)
        return self.found[name]

    @cached_property
    def unpictured(self) -> str | None:
        """Why its pictures cannot be shown; None where they can."""
        for role in PICTURED:
            if role in self.summary["artifacts"]:
                try:
                    self.artifact(role)
                except UNREADABLE as error:
                    return describe_error(error)
        return None

    @cached_property
    def per_query(self) -> pd.DataFrame:
        """What the protocol found for each query."""
        return read_table(self.artifact("evaluation").folder / "queries.csv", TEXTS)

    @cached_property
    def by_role(self) -> dict[str, pd.DataFrame]:
        """The same of the attributed queries and of the controls, where there are some."""
        return {str(role): table for role, table in self.per_query.groupby("role", sort=False)}


@dataclass(frozen=True)
class Experiment:
    """The runs under one set of settings, by method and seed."""

    title: str
    config: dict[str, Any]  # of its first run
    runs: dict[str, dict[int, Run]]  # method -> seed -> run
    usual: tuple[str, ...] = ()  # what the names of the methods leave out

    def first(self, method: str) -> Run:
        """One of the method's runs."""
        return next(iter(self.runs[method].values()))

    def pool_queries(self, method: str) -> pd.DataFrame:
        """What the protocol found for each query, of all seeds of a method in their order."""
        return pd.concat([run.per_query for _, run in sorted(self.runs[method].items())], ignore_index=True)

    def base(self, method: str) -> str:
        """The method's own name, whatever its settings."""
        return self.first(method).config["method"]["name"]

    def ablation(self, method: str) -> str | None:
        """The name of the ablation that was run, if it was one."""
        return self.first(method).config.get("ablation")

    @property
    def unablated(self) -> list[str]:
        """The methods as they are."""
        return [method for method in self.runs if not self.ablation(method)]

    @property
    def protocol(self) -> str:
        """The protocol of all runs."""
        return self.first(next(iter(self.runs))).summary["protocol"]

    @property
    def itself(self) -> bool:
        """Whether the scores are those of training items for themselves."""
        return self.config.get("queries", {}).get("explained") == ITSELF

    @property
    def dataset(self) -> str:
        """The dataset of all runs."""
        return self.first(next(iter(self.runs))).summary["dataset"]

    @property
    def imported(self) -> bool:
        """Whether F1 was not trained here in a run, and a verdict may stand on what was."""
        return self.protocol != UNJUDGED and any(
            run.summary.get("imported") for by_seed in self.runs.values() for run in by_seed.values()
        )

    @property
    def slug(self) -> str:
        """A name for a folder: what was run, and a digest of all settings."""
        return name_experiment(self.config)

    @property
    def seeds(self) -> list[int]:
        """All seeds that any method was run with."""
        return sorted({seed for by_seed in self.runs.values() for seed in by_seed})

    @property
    def far_from_data(self) -> str | None:
        """What there is to say where one of the first models does not generate images of the data's kind, or is
        unlikely to have made the user's pictures."""
        runs = [run for by_seed in self.runs.values() for run in by_seed.values()]
        pictures = [picture for run in runs for picture in run.summary.get("pictures", [])]
        if (unlikely := warn_unlikely(pictures)) is not None:
            return unlikely
        shares = {
            seed: run.summary["far_queries"]
            for by_seed in self.runs.values()
            for seed, run in by_seed.items()
            if (run.summary.get("far_queries") or 0) > run.config.get("health", {}).get("far", 1)
        }
        if not shares:
            return None
        found = ", ".join(f"{100 * share:.0f} % (seed {seed})" for seed, share in sorted(shares.items()))
        return (
            f"F1's images are far from its data: {found} of the queries are less like the training items than 99 % of "
            "held-out items are. Attributing them says little."
        )

    @property
    def noted(self) -> list[str]:
        """What there is to say of methods whose unlearning of most queries was cut short, or that evaluated some of the
        losses; and what runs warn of that no table marks."""
        runs = [run for by_seed in self.runs.values() for run in by_seed.values()]
        warnings = [] if self.protocol in MARKED else [text for run in runs for text in run.summary.get("warnings", [])]
        sentences = list(dict.fromkeys(warnings))
        for method, by_seed in self.runs.items():
            facts = average([run.summary.get("facts", {}) for run in by_seed.values()])
            capped = tell_capped(facts)
            lines = [*tell_allocation(facts), *tell_smoothness(facts)]
            told = [*([] if capped is None else [capped]), *(f"{line}." for line in lines)]
            if self.protocol in MARKED:
                own = [text for run in by_seed.values() for text in run.summary.get("method_warnings", [])]
                told += list(dict.fromkeys(own))
            sentences += [f"{method}: {sentence}" for sentence in told]
        return sentences

    @property
    def measures(self) -> list[str]:
        """All measures that any run took."""
        runs = [run for by_seed in self.runs.values() for run in by_seed.values()]
        return list(dict.fromkeys(measure for run in runs for measure in run.summary.get("metrics", {})))

    def has_measure(self, method: str, measure: str) -> bool:
        """Whether every run of the method took the measure."""
        return all(measure in run.summary.get("metrics", {}) for run in self.runs[method].values())


@dataclass(frozen=True)
class Collected:
    """The experiments below some folders, the newest last; and the folders of the runs that no table shows, with the
    reason."""

    experiments: list[Experiment]
    left_out: dict[Path, str]

    @property
    def runs(self) -> list[Run]:
        """The runs that are shown."""
        methods = [by_seed for experiment in self.experiments for by_seed in experiment.runs.values()]
        return [run for by_seed in methods for run in by_seed.values()]


def collect(folders: list[Path], broken: Mapping[Path, str] | None = None) -> Collected:
    """Bring together the finished runs below these folders: the newest run of each (settings, method, seed).

    ``broken``: folders of runs that are to be left out, with the reason. Raises UserError where no run can be shown,
    not even one that ended before a verdict.
    """
    names = ", ".join(str(folder) for folder in folders)
    runs, left_out = read_runs(folders, broken or {})
    unjudged = list_unjudged(folders)
    if not runs and left_out and not unjudged:
        folder, reason = next(iter(left_out.items()))
        raise UserError(f"No run below {names} can be shown ({folder}: {reason}): name other folders, or run tdattr.")
    if not runs and not unjudged:
        raise no_run(folders)
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        key = experiment_key(run.config)
        by_key[key] = [*by_key.pop(key, []), run]  # the newest experiment last
    experiments = []
    for alike in by_key.values():
        by_method: dict[str, dict[int, Run]] = {}
        configs = [run.config for run in alike]
        for run, name in zip(alike, name_runs(configs), strict=True):
            by_seed = by_method.setdefault(name, {})
            seed = run.summary["seed"]
            if seed in by_seed:
                left_out[by_seed[seed].folder] = REPLACED
            by_seed[seed] = run
        usual = tuple(tell_usual(configs))
        experiments.append(Experiment("", alike[-1].config, dict(sorted(by_method.items(), key=random_first)), usual))
    return Collected(add_titles(experiments), left_out)


def read_runs(folders: list[Path], broken: Mapping[Path, str]) -> tuple[list[Run], dict[Path, str]]:
    """The finished runs below these folders, the newest last; and the folders of those that cannot be read, with the
    reason."""
    configs, summaries = set(find_named(folders, CONFIG)), set(find_named(folders, SUMMARY))
    unfinished = {path.parent for path in configs} - {path.parent for path in summaries} - set(list_unjudged(folders))
    left_out = dict.fromkeys(sorted(unfinished), UNFINISHED) | dict(broken)
    runs = []
    whole = [path for path in summaries if path.parent not in broken]
    for path in sorted(whole, key=lambda path: path.stat().st_mtime):
        try:
            config = read_config(path.parent)
            summary = json.loads(path.read_text(), parse_constant=lambda _: None)  # NaN, in older ones
            run = Run(path.parent, summary, config)
            for key, kind in REQUIRED.items():
                if not isinstance(run.summary.get(key), KINDS[kind]):
                    raise ValueError(f"its summary has no {key}")
            if not isinstance(run.summary.get("title", ""), str):
                raise ValueError("the title in its summary is not text")
            name_experiment(config)
            name_runs([config])
            run.artifact("evaluation")
            average([summary.get("facts", {})])
        except UNREADABLE as error:
            left_out[path.parent] = describe_error(error)
        else:
            runs.append(run)
    repeated = [folder for folder in unfinished if is_repeated(folder, runs)]
    return runs, {folder: reason for folder, reason in left_out.items() if folder not in repeated}


def average(facts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each fact over the runs that have it; null was not a number."""
    names = dict.fromkeys(name for each in facts for name in each)
    values = {name: [each[name] for each in facts if each.get(name) is not None] for name in names}
    return {name: sum(known) / len(known) for name, known in values.items() if known}


def read_config(folder: Path) -> Any:
    """The composed config of a run, read by libyaml, which takes a tenth of the time. Raises one of ``UNREADABLE``."""
    return yaml.load((folder / CONFIG).read_bytes(), LOADER)


def list_unjudged(folders: list[Path]) -> list[Path]:
    """The folders of runs that ended before a verdict (``until``) and left accuracies, the newest last."""
    found = {path for path in find_named(folders, ACCURACY) if (path.parent / CONFIG).exists()}
    unjudged = [path for path in found if not (path.parent / SUMMARY).exists()]
    return [path.parent for path in sorted(unjudged, key=lambda path: path.stat().st_mtime)]


def is_repeated(folder: Path, runs: list[Run]) -> bool:
    """Whether an unfinished run was finished later by the same command."""
    try:
        key = identify(read_config(folder))
    except UNREADABLE:
        return False
    began = (folder / CONFIG).stat().st_mtime
    return any(identify(run.config) == key and (run.folder / SUMMARY).stat().st_mtime > began for run in runs)


def identify(config: dict[str, Any]) -> tuple[Any, ...]:
    """What two runs have in common that were to give the same."""
    return experiment_key(config), variant_settings(config), config.get("ablation"), config["seed"]


def describe_error(error: Exception) -> str:
    """Why a run cannot be read, in one line."""
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, KeyError) and error.args:
        return f"it has no {error.args[0]}"
    text = f"{error}"
    return text.splitlines()[0] if text else type(error).__name__


def add_titles(experiments: list[Experiment]) -> list[Experiment]:
    """The same experiments with titles that tell them apart: what was run, and the settings in which they differ."""
    differences = tell_apart([flatten(json.loads(experiment_key(experiment.config))) for experiment in experiments])
    titled = []
    for experiment, differing in zip(experiments, differences, strict=True):
        summary = experiment.first(next(iter(experiment.runs))).summary
        model = ", ".join(summary[key] for key in ("dataset", "model", "diffusion"))
        queries = counted(summary["num_queries"], "query")
        # older summaries have no title
        amounts = [summary.get("title"), None if experiment.itself else f"{queries} per seed"]
        title = f"{model}: {', '.join([experiment.protocol, *filter(None, amounts), *differing])}"
        titled.append(replace(experiment, title=title))
    return titled


def random_first(entry: tuple[str, Any]) -> tuple[bool, str]:
    """A key to sort by: random first, the others by name."""
    return entry[0] != "random", entry[0]
