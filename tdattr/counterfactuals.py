"""What protocols ask of the chain: models of other training sets, what they generate, and their losses."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.artifacts import Artifact, shared_out
from tdattr.configs import described
from tdattr.data.groups import Ids
from tdattr.protocols import Generated
from tdattr.results import load_images
from tdattr.scoring.losses import NoiseSet, pair_losses
from tdattr.seeding import generator, normal
from tdattr.stages import Chain


@dataclass(frozen=True)
class Models:
    """The ``Counterfactuals`` of a chain."""

    chain: Chain

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.chain.cfg.seed

    def original(self) -> Generated:
        """The queries as F1 generated them."""
        return Generated(load_images(self.chain.generated(self.chain.pretrained())), self.chain.queries.attributed)

    def regenerate(self, removed: Ids) -> tuple[Generated, Artifact]:
        """Retrain without those ids and generate the queries again from their own seeds."""
        artifact = self.chain.generated(self.chain.pretrained(without=removed))
        return Generated(load_images(artifact), self.chain.queries.attributed), artifact

    def similarities(self, first: Tensor, second: Tensor) -> dict[str, Float[np.ndarray, " query"]]:
        """How alike the images of each pair are, by every measure of the run; higher = more alike."""
        return {
            name: measure.load(self.chain.setting())(first, second).double().numpy()
            for name, measure in self.chain.measures.items()
        }

    def train(self, removals: list[Ids], repeats: int, first: int = 0) -> list[list[Artifact]]:
        """The models without each of those sets of ids, ``repeats`` of each under the run's seed + ``first``
        and those after it; jobs that want the same models share the work."""
        seeds = [self.chain.cfg.seed + first + repeat for repeat in range(repeats)]
        found = shared_out([partial(self.chain.training, ids, seed) for seed in seeds for ids in removals])
        return [found[place :: len(removals)] for place in range(len(removals))]

    def groups(self) -> dict[str, Ids]:
        """The groups of the training items, of those that F1 has seen."""
        return self.chain.groups

    def items(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What is known of the training items that F1 has seen, and of the item that each explained query takes its
        condition from."""
        chain = self.chain
        queries = chain.query_split.items.iloc[chain.query_items[chain.queries.places]]
        return chain.data.train.items.iloc[chain.ids], queries

    def query_losses(self, models: list[Artifact], draws: int) -> Float[np.ndarray, "model query"]:
        """The loss of every explained query under each model, a mean over ``draws`` levels and noise images of the
        training distribution that are the same for all queries and models."""
        chain = self.chain
        queries = chain.generated(chain.pretrained())
        config = {
            "draws": draws,
            "seed": chain.cfg.seed,
            "weights": chain.cfg.weights,
            "diffusion": described(chain.cfg.diffusion),
        }
        images = load_images(queries)
        conditions = chain.query_split.condition(chain.query_items)
        given = None if conditions is None else conditions.to(chain.device)
        rng = generator(chain.cfg.seed, "query_losses")
        noise = NoiseSet(chain.diffusion.training_levels(rng, draws), normal(rng, draws, *images.shape[1:]))

        def make(model: Artifact, folder: Path) -> None:
            network, batch_size = chain.network(model), chain.trainer.scoring_batch
            x, pairs = images.to(chain.device), noise.to(chain.device)
            losses = pair_losses(chain.diffusion, network, x, given, pairs, batch_size)
            save_file({"losses": losses.double().mean(1)}, folder / "losses.safetensors")

        def attempt(model: Artifact, wait: bool) -> Artifact | None:
            inputs = {"model": model.address, "queries": queries.address}
            return chain.store.offer("query_losses", 1, config, inputs, partial(make, model), wait)

        found = shared_out([partial(attempt, model) for model in models])
        rows = [load_file(artifact.folder / "losses.safetensors")["losses"] for artifact in found]
        return torch.stack(rows).numpy()[:, chain.queries.places]
