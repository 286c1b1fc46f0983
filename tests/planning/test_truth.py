"""What a plan counts is what a run then does, counted by a spy on the network, for every family of methods."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import tdattr
from tdattr.costs import NO_WORK, Work
from tdattr.networks import Network
from tdattr.pipeline.evaluate import evaluate, summarise
from tdattr.pipeline.health import examine
from tdattr.pipeline.workspace import Workspace
from tdattr.planning.graph import Graph
from tdattr.planning.workspace import open_planned
from tdattr.scoring import fisher
from tdattr.scoring.gradients import Gradients
from tests.codecs.vaes import save_vae
from tests.features.words import NODE as WORDS
from tests.small_methods import GRADIENTS, MUCS, SHIFT, UNLEARN

pytestmark = pytest.mark.slow

SMALL = [
    "dataset=glyph_digits", "dataset.source.resolution=8", "model.blocks=1", "model.width=16", "model.heads=1",
    "model.embedding_width=8", "diffusion.steps=3", "train.steps=4", "train.warmup_steps=1", "train.epoch_steps=3",
    "train.batch_size=8", "queries.attributed=2", "queries.controls=1", "trainer.accelerator=cpu", "logger=none",
]  # fmt: skip
ELBO = ["elbo.stride=250", "protocol=logo"]
VAE = "FOLDER_OF_A_VAE"
LATENTS = ["codec=vae", f"codec.weights={VAE}", "dataset.source.resolution=16", "model.patch=2"]
CLASSIFIER = ["method.extractor.steps=2", "method.extractor.batch_size=8"]
CASES = {
    "random": ["method=random"],
    "pixel, guided": ["method=pixel", "queries.guidance=2.0"],
    "condition": ["method=condition"],
    "features": ["method=features", *CLASSIFIER],
    "health": ["method=random", "health.samples=4", "health.extractor.steps=2", "health.extractor.batch_size=8"],
    "mucs": MUCS,
    "mucs without a null loss": [
        *(part for part in MUCS if "null_loss" not in part), "method.unlearn.stop=null", "method.score.kept=moved",
    ],
    "mucs, racing": [*MUCS, "method.score.allocation=racing", "protocol.k=5"],  # removes more items
    "abu, importance": [
        "method=abu", "method.draws=16", "method.fisher.epochs=1", "method.score.mirror=true", *SHIFT,
        "method.score.allocation=importance", "method.score.pairs_each=2",
    ],
    "mucs, auto": [*MUCS, "ablation=auto_schedule"],
    "forward_inf": ["method=forward_inf", *SHIFT],
    "abu": ["method=abu", "method.draws=16", "method.fisher.epochs=1", "method.score.mirror=true", *SHIFT],
    "das": ["method=das", *GRADIENTS],
    "dtrak": ["method=dtrak", *GRADIENTS],
    "journey_trak, guided": ["method=journey_trak", *GRADIENTS, "queries.guidance=2.0"],
    "tracin": ["method=tracin", *GRADIENTS],
    "ensemble": [
        "method=ensemble_b", "~method.members.clip", "~method.members.dino", "~method.weights.clip",
        "~method.weights.dino", *(part.replace("method.", "method.members.mucs.") for part in MUCS[1:]),
    ],
    "lds": ["method=pixel", "protocol=lds", "protocol.subsets=3", "protocol.repeats=2", "protocol.draws=5"],
    "logo": ["method=logo", "method.first=1", "method.repeats=2", *ELBO],
    "logo, importance": ["method=logo", "method.elbo.importance=2", *ELBO, "elbo.stride=200"],  # terms of its own
    "logo_images": ["method=logo_images", *ELBO],
    "group_similarity": ["method=group_similarity", *CLASSIFIER, *ELBO],
    "shapley": ["method=shapley", "method.orders=2", *UNLEARN[1:], *ELBO],
    "guda": [*UNLEARN, *ELBO],
    "guda, distilled": [*UNLEARN, *ELBO, "objective@method.objective=erasediff", "method.unlearn.retain=distill"],
    "guda, masked": [*UNLEARN, *ELBO, "objective@method.objective=finetune", "mask@method.unlearn.mask=saliency"],
    "esd": [*UNLEARN, *ELBO, "objective@method.objective=esd"],
    "siss": [*UNLEARN, *ELBO, "objective@method.objective=siss"],
    "ddpm": ["method=pixel", "diffusion=ddpm", "diffusion.timesteps=50", "diffusion.steps=3"],
    "vp": ["method=pixel", "diffusion=vp", "diffusion.steps=3"],
    "flow": ["method=pixel", "diffusion=flow", "diffusion.sampler=heun", "diffusion.steps=3"],
    "guda_c on latents, which alone mirrors": [
        "method=guda_c", "objective@method.objective=uniform", f"dataset.text={WORDS}", *LATENTS,
        "method.objective.prompt='{object} in a {descriptors} typeface'", "method.unlearn.steps=2",
        "method.unlearn.kept=[1]", "method.unlearn.batch_size=8", "method.unlearn.mirror=true", *ELBO,
    ],
    "abu on latents, which alone mirrors": [
        "method=abu", "method.draws=16", "method.fisher.epochs=1", "method.score.mirror=true", *SHIFT, *LATENTS,
    ],
}  # fmt: skip


SAME_REMOVAL = "pixel, guided"  # what the random method removes, an earlier case has left out
BOUNDS = {name for name in CASES if "mucs" in name} | {"ensemble", "logo, importance", SAME_REMOVAL}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all cases, which share the dataset and, most of them, F1; beside it a VAE."""
    folder = tmp_path_factory.mktemp("truth")
    save_vae(folder / "vae")
    return folder / "outputs"


class Spy:
    """What the network is asked for, item by item."""

    def __init__(self) -> None:
        self.trained = self.evaluations = self.gradients = 0
        self.apart = False  # within a computation of single gradients, which are counted as a whole

    def see(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if not isinstance(module, Network) or self.apart:
            return
        if torch.is_grad_enabled():
            self.trained += len(inputs[0])
        else:
            self.evaluations += len(inputs[0])

    @contextmanager
    def single(self, count: int) -> Iterator[None]:
        self.gradients += count
        self.apart = True
        yield
        self.apart = False


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    spy = Spy()
    of, squares = Gradients.of, fisher.sum_squares

    def watched_of(self: Gradients, x: torch.Tensor, *rest: Any) -> Any:
        with spy.single(len(x) * len(self.noise)):
            return of(self, x, *rest)

    def watched_squares(network: Any, diffusion: Any, items: Any, *rest: Any) -> Any:
        with spy.single(len(items)):
            return squares(network, diffusion, items, *rest)

    monkeypatch.setattr(Gradients, "of", watched_of)
    monkeypatch.setattr(fisher, "sum_squares", watched_squares)
    handle = register_module_forward_pre_hook(spy.see)
    yield spy
    handle.remove()


def plan(ws: Workspace) -> Graph:
    """The plan of a workspace's run."""
    graph = Graph()
    graph.add(open_planned(ws.cfg))
    return graph


def missing(graph: Graph) -> Counter[str]:
    """The artifacts that a plan says are to be built, by stage."""
    return Counter(entry.plan.stage for entry in graph if entry.missing)


def work(graph: Graph) -> Work:
    """All work of a plan; nothing of it is unknown."""
    works = [entry.cost and entry.cost.work for entry in graph if entry.missing]
    assert None not in works
    return sum((part for part in works if part is not None), NO_WORK)


def stage_of(name: str) -> str:
    """The first part of an artifact's name."""
    return name.split("/")[0]


@pytest.mark.parametrize("case", CASES)
def test_a_run_does_what_its_plan_counts(case: str, outputs: Path, spy: Spy) -> None:
    overrides = [override.replace(VAE, str(outputs.parent / "vae")) for override in CASES[case]]
    ws = tdattr.compose([*SMALL, *overrides, f"paths.outputs={outputs}"])
    ws.data  # noqa: B018  # of data that are not prepared, artifacts have no addresses
    planned = plan(ws)
    counted, names = work(planned), {entry.plan.name for entry in planned if entry.missing}
    assert {name.split("/")[0] for name in ws.store.built} <= {"dataset", "classifier"}  # by what comes before a run
    assert (spy.trained, spy.evaluations, spy.gradients) == (0, 0, 0)

    examine(ws)
    summarise(ws, evaluate(ws))
    seen = Work(trained=spy.trained, evaluations=spy.evaluations, gradients=spy.gradients)
    built = [name for name in ws.store.built if not name.startswith(("dataset/", "classifier/"))]
    asked = Work(trained=counted.trained, evaluations=counted.evaluations, gradients=counted.gradients)
    assert counted.at_most or case not in BOUNDS
    if case in BOUNDS:
        assert seen.gradients == asked.gradients and seen.passes <= asked.passes
    else:
        assert seen == asked
    if case != SAME_REMOVAL:
        assert Counter(map(stage_of, built)) == Counter(map(stage_of, names))
        assert counted.trainings == sum(stage_of(name) == "pretrain" for name in built)

    after = plan(ws)
    assert not missing(after) and {entry.plan.name for entry in after} >= set(built)
