"""What is not declared is refused, and what is declared is in the address of the result."""

import gc
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

import tdattr
from tdattr.counterfactuals import Undeclared, name_removal
from tdattr.methods import Context, Method, Scored, Scorer
from tdattr.networks import Network
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.train import build_network, train
from tdattr.pipeline.workspace import Workspace

NOTHING = np.array([], dtype=np.int64)
SMALL = (
    "dataset=digits", "model.blocks=1", "model.width=16", "model.embedding_width=8", "diffusion.steps=2",
    "train.steps=2", "train.batch_size=4", "queries.attributed=2", "queries.controls=2", "trainer.accelerator=cpu",
    "method=random", "logger=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Of a small network, which is trained for two steps if somebody asks for it."""
    return tdattr.compose([*SMALL, f"paths.outputs={tmp_path_factory.mktemp('outputs')}"])


@dataclass(frozen=True)
class Groups(Method):
    """It asks for the groups, and says so."""

    needs: ClassVar = frozenset({"groups"})

    name: str = "groups"

    def start(self, context: Context) -> Scorer:
        count = len(context.counterfactuals.groups())
        return lambda query: Scored(torch.full((len(context.ids),), float(count)))


@dataclass(frozen=True)
class SilentGroups(Groups):
    """It asks for the groups without a word."""

    needs: ClassVar = frozenset({"retraining"})


@dataclass(frozen=True)
class Retrained(Method):
    """It asks for models of other trainings, and says so."""

    needs: ClassVar = frozenset({"retraining"})

    name: str = "retrained"

    def start(self, context: Context) -> Scorer:
        context.counterfactuals.train([context.ids[:2]])
        return lambda query: Scored(torch.zeros(len(context.ids)))


@dataclass(frozen=True)
class SilentRetrained(Retrained):
    """It asks for models of other trainings without a word."""

    needs: ClassVar = frozenset({"groups"})


def test_counterfactuals_refuse_what_was_not_declared(ws: Workspace) -> None:
    for needs in (frozenset(), frozenset({"retraining"})):
        with pytest.raises(Undeclared, match="add 'groups' to `needs`"):
            WorkspaceCounterfactuals(ws, needs).groups()
    for needs in (frozenset(), frozenset({"groups"})):
        for ask in (WorkspaceCounterfactuals(ws, needs).train, WorkspaceCounterfactuals(ws, needs).regenerate):
            with pytest.raises(Undeclared, match="add 'retraining' to `needs`"):
                ask([NOTHING])


def test_what_was_declared_is_given_and_nothing_is_trained_for_it(ws: Workspace) -> None:
    groups = WorkspaceCounterfactuals(ws, frozenset({"groups"})).groups()
    assert {name: ids.tolist() for name, ids in groups.items()} == {n: ids.tolist() for n, ids in ws.groups.items()}
    removals = [NOTHING, groups["3"]]
    models = WorkspaceCounterfactuals(ws, frozenset({"retraining"})).train(removals, repeats=2, first=1)
    expected = [[train(ws, ids, ws.seed + seed).address for seed in (1, 2)] for ids in removals]
    assert [[model.address for model in row] for row in models] == expected
    assert len({address for row in expected for address in row}) == 4
    ((f1,),) = WorkspaceCounterfactuals(ws, frozenset({"retraining"})).train([NOTHING])
    assert f1.address == train(ws).address
    assert not any(name.startswith("pretrain/") for name in ws.store.built)


def test_a_removal_is_called_by_the_groups_that_it_takes_away() -> None:
    groups = {"serif": np.arange(3), "slanted": np.array([3, 4]), "none": NOTHING, "mono": np.arange(5, 9)}
    for removed, words in (
        ([0, 1, 2], "serif (3 items)"),
        ([4, 3], "slanted (2 items)"),
        ([0, 1, 2, 3, 4], "2 groups (5 items)"),
        ([0, 1, 3], "3 items"),
        ([0, 1, 2, 3], "4 items"),  # not the whole of the second
        ([20], "1 item"),
    ):
        assert name_removal(np.array(removed), groups) == words
    assert name_removal(np.arange(3), {}) == "3 items"


def test_a_retraining_says_what_it_is_without_and_which_of_how_many_it_is(ws: Workspace) -> None:
    three = WorkspaceCounterfactuals(ws, frozenset({"groups"})).groups()["3"]
    labels = [train(ws, ids, seed, "2 of 4").label for ids, seed in ((three, None), (three[:4], 2), (NOTHING, 2))]
    assert [label() for label in labels if label is not None] == [
        f"Retraining 2 of 4, without 3 ({len(three)} items)",
        "Retraining 2 of 4, without 4 items under seed 2",
        "Retraining 2 of 4, under seed 2",
    ]
    first = train(ws).label
    assert first is not None and first() == "Training F1"


@dataclass(frozen=True)
class SilentMeasures(Method):
    """It asks how alike images are without a word."""

    name: str = "measures"

    def start(self, context: Context) -> Scorer:
        images = context.counterfactuals.original().images
        similar = context.counterfactuals.similarities(images, images)
        return lambda query: Scored(torch.full((len(context.ids),), float(len(similar))))


@dataclass(frozen=True)
class Measures(SilentMeasures):
    """It asks how alike images are, and says so."""

    needs: ClassVar = frozenset({"measures"})


@dataclass(frozen=True)
class Above(Method):
    """It reads the scores of another method."""

    below: Method
    name: str = "above"

    def uses(self) -> dict[str, Method]:
        return {"below": self.below}

    def start(self, context: Context) -> Scorer:
        below = context.member("below").scores.values
        return lambda query: Scored(below[query])


@dataclass(frozen=True)
class Misshapen(Method):
    """Its scores have a column for every training item, whatever F1 has seen, or its errors come and go."""

    more: int
    errors: bool = False
    name: str = "misshapen"

    def start(self, context: Context) -> Scorer:
        scores = torch.zeros(len(context.ids) + self.more)
        return lambda query: Scored(scores, {}, scores if self.errors and query == 0 else None)


@pytest.mark.parametrize(("more", "errors", "says"), [(5, False, "of shape"), (0, True, "errors for some")])
def test_scores_that_fit_nothing_are_refused(ws: Workspace, more: int, errors: bool, says: str) -> None:
    plan = attribute(ws, Misshapen(more, errors))
    with pytest.raises(TypeError, match=rf"misshapen ga?i?ves? .*{says}"):
        plan.get()
    assert not plan.finished


def test_no_copy_of_a_network_stays_with_the_scorer(ws: Workspace) -> None:
    """F1's table outlives the F1 that made it: of what is alive later, nothing holds a network."""
    from tdattr.methods.mucs import MUCS
    from tdattr.pipeline.attribute import Setup

    mirrored = tdattr.compose(
        [*SMALL[:-2], "method=mucs", "method.score.mirror=true", "method.score.pairs=2", "logger=none",
         f"paths.outputs={ws.store.root.parent / 'mirrored'}"]
    )  # fmt: skip
    assert isinstance(mirrored.method, MUCS)
    before = count_networks()
    setup = Setup(mirrored, mirrored.method)
    setup.run()
    assert setup.scorer is not None and count_networks() == before


def count_networks() -> int:
    gc.collect()
    return sum(isinstance(part, Network) for part in gc.get_objects())


@pytest.mark.parametrize(
    ("method", "need"), [(SilentGroups(), "groups"), (SilentRetrained(), "retraining"), (SilentMeasures(), "measures")]
)
def test_a_method_that_does_not_say_what_it_asks_for_has_no_scores(ws: Workspace, method: Method, need: str) -> None:
    plan = attribute(ws, method)
    with pytest.raises(Undeclared, match=f"add '{need}' to `needs`"):
        plan.get()
    assert not plan.finished


@pytest.mark.parametrize("method", [Groups(), Retrained(), Measures()])
def test_one_that_says_so_has_scores(ws: Workspace, method: Method) -> None:
    plan = attribute(ws, method)
    plan.get()
    assert plan.finished


def test_only_what_was_declared_is_in_the_address(ws: Workspace, tmp_path: Path) -> None:
    """The order of the items in trainings without some of them, and another grouping: neither changes F1."""
    manifest = tmp_path / "groups.json"
    every = list(range(len(ws.data.train)))
    manifest.write_text(json.dumps({"first": every[:100], "rest": every[100:]}))
    regrouped = replace(ws, dataset=replace(ws.dataset, groups=str(manifest)))
    reordered = replace(ws, train=replace(ws.train, coupled=not ws.train.coupled))
    assert train(ws).address == train(regrouped).address == train(reordered).address

    def changes(method: Method) -> tuple[bool, bool]:
        before = attribute(ws, method).address
        return attribute(regrouped, method).address != before, attribute(reordered, method).address != before

    assert changes(ws.method) == (False, False)
    assert changes(Groups()) == changes(SilentRetrained()) == (True, False)
    assert changes(Retrained()) == changes(SilentGroups()) == (False, True)
    assert changes(Above(Groups())) == (True, False)  # without a word of what the other one needs
    assert changes(Above(Retrained())) == (False, True)


def test_the_measures_are_in_the_address_of_what_asks_for_them(ws: Workspace) -> None:
    fewer = replace(ws, cfg=OmegaConf.merge(ws.cfg, {"metrics": ["mse"]}))
    assert attribute(fewer, Measures()).address != attribute(ws, Measures()).address
    assert attribute(fewer).address == attribute(ws).address


def test_how_methods_train_is_in_the_address_where_f1_was_trained_elsewhere(ws: Workspace, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(build_network(ws).state_dict(), weights)
    imported = replace(ws, checkpoint=weights)
    faster = replace(imported, train=replace(ws.train, learning_rate=0.5))
    rounded = replace(imported, trainer=replace(ws.trainer, precision="bf16-mixed"))
    assert train(imported).address == train(faster).address == train(rounded).address
    assert len({attribute(one).address for one in (imported, faster, rounded)}) == 3
