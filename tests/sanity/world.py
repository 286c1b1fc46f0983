"""A dataset, models of it (trained, trained under another seed, made random; each also without some items), and the
scores of any method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from tdattr.configs import build
from tdattr.counterfactuals import Generated, Trained
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Prepared, Source, load
from tdattr.diffusion import Diffusion
from tdattr.features import Setting
from tdattr.ids import NO_IDS, Ids, digest_ids
from tdattr.methods import Method
from tdattr.networks import Network
from tdattr.search_path import CONF
from tdattr.seeding import generator
from tdattr.store import Store
from tdattr.training.pretrain import pretrain
from tests.contexts import NoCounterfactuals, keep, plain_context

SMALL = {  # set wherever a method has the key; one that takes long needs an entry for what makes it so
    "null_loss.batches": 5,
    "null_loss.batch_size": 64,
    "unlearn.batch_size": 32,
    "unlearn.max_steps": 25,
    "score.pairs": 30,
    "gradients.draws": 20,
    "output.draws": 20,
    "gradients.projection.dimension": 512,
    "draws": 240,
    "fisher.epochs": 1,
    "extractor.steps": 100,
    "extractor.batch_size": 32,
}
TRAINING = (
    "model.blocks=2", "model.width=32", "train.learning_rate=2e-3", "train.warmup_steps=50", "train.ema=0.99",
    "train.schedule=cosine", "train.epoch_steps=5000", "train.validation_draws=1", "trainer.accelerator=cpu",
    "trainer.threads=1",
)  # fmt: skip
SEED = 11
SEEDS = {"trained": 0, "again": 1}


@cache
def composed(*overrides: str) -> DictConfig:
    """The config with those overrides, its method made small."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides))
    for key, value in SMALL.items():
        if OmegaConf.select(config, f"method.{key}") is not None:
            OmegaConf.update(config, f"method.{key}", value)
    return config


def methods_of_items() -> list[str]:
    """Those of ``conf/method`` that score items and need no weights that must be fetched: new ones are taken up by
    themselves."""
    return [path.stem for path in sorted((CONF / "method").glob("*.yaml")) if runs_alone(path.stem)]


def methods_of_groups() -> list[str]:
    """Those that score groups."""
    names = [path.stem for path in sorted((CONF / "method").glob("*.yaml"))]
    return [name for name in names if scores_groups(name)]


def runs_alone(name: str) -> bool:
    """Whether a method scores items by what is here."""
    node = composed(f"method={name}").method
    parts = [node, *node.get("members", {}).values()]
    fetched = any(OmegaConf.select(part, "extractor.weights") is not None for part in parts)
    return not fetched and not scores_groups(name)


def scores_groups(name: str) -> bool:
    """Whether a method scores groups."""
    return get_class(composed(f"method={name}").method._target_).scores_groups


@dataclass(frozen=True, eq=False)
class World:
    """The models are made in ``folder`` as they are asked for: ``trained``, ``again`` (under another seed),
    ``untrained`` (as initialised), and ``random``: the trained one with the values of every parameter shuffled, which
    is quanda's randomisation of a model but for keeping the sizes of weights (arXiv 2410.07158). Without some items
    they are trained anew, and made random in the same way. ``groups``: of items, for methods that score groups;
    ``numbers``: of the noise from which the trained one has drawn each of the images, if it has (`draw`)."""

    folder: Path
    data: Prepared
    overrides: tuple[str, ...]
    images: Tensor
    conditions: Tensor | None
    items: pd.DataFrame
    groups: Mapping[str, Ids] = field(default_factory=dict)
    numbers: Sequence[int] = ()
    seed: int = SEED  # of what methods draw

    @property
    def config(self) -> DictConfig:
        """That of its dataset and trainings."""
        return composed(*self.overrides)

    def build(self, seed: int) -> Network:
        """The network as initialised."""
        network = build(self.config.model, "model")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return network.build(1, self.images.shape[-1], self.data.condition_size)

    def train(self, seed: int, removed: Ids = NO_IDS) -> dict[str, Tensor]:
        """The weights of the network trained on all other items, where it has not been yet."""
        folder = self.folder / f"model{seed}-{digest_ids(removed)}"
        if not folder.exists():
            folder.mkdir()
            diffusion, train = build(self.config.diffusion, "diffusion"), build(self.config.train, "train")
            ids, trainer = np.setdiff1d(np.arange(len(self.data.train)), removed), build(self.config.trainer, "trainer")
            pretrain(self.build(seed), self.data, ids, diffusion, train, trainer, seed, folder, "test")
        return load_file(folder / "ema.safetensors")

    def weights(self, model: str, removed: Ids = NO_IDS) -> dict[str, Tensor]:
        """Those of one of the models."""
        if model == "random":
            rng, weights = generator(SEED, "test.shuffled"), self.network("trained", removed).state_dict()
            orders = {name: torch.from_numpy(rng.permutation(value.numel())) for name, value in weights.items()}
            return {name: value.flatten()[orders[name]].view_as(value) for name, value in weights.items()}
        return self.build(0).state_dict() if model == "untrained" else self.train(SEEDS[model], removed)

    def network(self, model: str, removed: Ids = NO_IDS) -> Network:
        """A new copy of one of the models."""
        made = self.build(0)
        made.load_state_dict(self.weights(model, removed))
        return made.eval().requires_grad_(False)

    def trained(self, model: str, removed: Ids = NO_IDS) -> Trained:
        """One of the models, as it is asked for."""
        return Trained(f"{model}-{digest_ids(removed)}", partial(self.network, model, removed))

    def draw(self, model: str, numbers: Sequence[int], removed: Ids = NO_IDS) -> Tensor:
        """What a model draws from the noise of each of these numbers."""
        rngs = [generator(SEED, "test.draw", number) for number in numbers]
        diffusion, network = build(self.config.diffusion, "diffusion", Diffusion), self.network(model, removed)
        with torch.no_grad():
            return diffusion.sample(network, rngs, tuple(self.images.shape[1:]))

    def counterfactuals(self, needs: frozenset[str], model: str) -> NoCounterfactuals:
        """The models without some items."""

        def train(removals: Sequence[Ids], repeats: int, first: int) -> list[list[Trained]]:
            assert (repeats, first) == (1, 0)
            return [[self.trained(model, ids)] for ids in removals]

        def regenerate(removals: Sequence[Ids]) -> list[Generated]:
            return [Generated(self.draw(model, self.numbers, ids), "drawn") for ids in removals]

        return NoCounterfactuals(needs, groups=lambda: self.groups, train=train, regenerate=regenerate)

    @cache  # noqa: B019  # a world lives as long as a module of tests
    def scores(self, name: str, model: str, count: int | None = None) -> np.ndarray:
        """The scores of a method under a model for the first queries, [query, item]; None: for all."""
        store = Store(self.folder / "artifacts", "cpu")
        method = build(composed(*self.overrides, f"method={name}").method, "method", Method)
        context = plain_context(
            self.data,
            build(self.config.diffusion, "diffusion"),
            build(self.config.train, "train"),
            build(self.config.trainer, "trainer"),
            Setting(lambda: self.data, torch.device("cpu"), 10, 3, False, keep(store, dataset=self.data.content)),
            ids=np.arange(len(self.data.train)),
            images=self.images,
            conditions=self.conditions,
            items=self.items,
            f0=partial(self.network, "untrained"),
            initial=partial(self.build, 0),
            seed=self.seed,
            plan=keep(store, model=model),
            counterfactuals=self.counterfactuals(method.needs, model),
            precision_of_losses="float32" if "losses" in method.needs else None,
        )
        scorer = method.start(replace(context, f1=self.trained(model)))
        return torch.stack([scorer(query).scores for query in range(len(self.images))[:count]]).numpy()


def make_world(folder: Path, source: Source, overrides: tuple[str, ...], **queries: Any) -> World:
    """The world of a dataset; ``overrides``: of training and of all methods; ``queries``: images, conditions, items."""
    (folder / "data").mkdir()
    prepare(source, folder / "data", "planted")
    return World(folder, load(folder / "data"), (*overrides, *TRAINING), **queries)
