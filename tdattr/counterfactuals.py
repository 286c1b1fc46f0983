"""What protocols ask of the chain: models of other training sets, what they generate, and their losses."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.artifacts import Artifact
from tdattr.configs import described
from tdattr.data.groups import Ids
from tdattr.protocols import Generated
from tdattr.report.progress import track
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

    def train(self, removals: list[Ids], repeats: int) -> list[list[Artifact]]:
        """The models without each of those sets of ids, ``repeats`` of each under the seeds that follow the run's.

        Jobs that want the same models share the work: what another one is training is left for later.
        """
        seed = self.chain.cfg.seed
        wanted = [(index, repeat) for repeat in range(repeats) for index in range(len(removals))]
        found: dict[tuple[int, int], Artifact] = {}
        while missing := [place for place in wanted if place not in found]:
            before = len(found)
            for index, repeat in missing:
                artifact = self.chain.training(removals[index], seed + repeat, wait=False)
                if artifact is not None:
                    found[index, repeat] = artifact
            if len(found) == before:  # others are at all that is left
                index, repeat = missing[0]
                artifact = self.chain.training(removals[index], seed + repeat, wait=True)
                assert artifact is not None
                found[index, repeat] = artifact
        return [[found[index, repeat] for repeat in range(repeats)] for index in range(len(removals))]

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
        rng = generator(chain.cfg.seed, "query_losses")
        noise = NoiseSet(chain.diffusion.training_levels(rng, draws), normal(rng, draws, *images.shape[1:]))
        rows = []
        for model in track(models, "Losses of the queries", len(models)):

            def make(folder, model=model):  # type: ignore[no-untyped-def]
                network, device = chain.network(model), chain.device
                given = None if conditions is None else conditions.to(device)
                batch = chain.trainer.scoring_batch
                losses = pair_losses(chain.diffusion, network, images.to(device), given, noise.to(device), batch)
                save_file({"losses": losses.double().mean(1)}, folder / "losses.safetensors")

            inputs = {"model": model.address, "queries": queries.address}
            artifact = chain.store.get("query_losses", 1, config, inputs, make)
            rows.append(load_file(artifact.folder / "losses.safetensors")["losses"][chain.queries.places])
        return torch.stack(rows).numpy()
