"""A bank: what was retrained once for a dataset, so that methods are judged without retraining anything again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tdattr.errors import UserError
from tdattr.files import digest, move_into_place, name_aside, writing
from tdattr.metrics.agreement import agreement
from tdattr.metrics.rank_correlation import repeat_ceiling

BANKS = Path(__file__).parents[1] / "banks"  # those that come with the package, a folder for each dataset
FILE = "bank.safetensors"
LEADERBOARD = "leaderboard.csv"  # what methods reach by it
SUBSETS = "subsets."  # what the names of their tensors begin with
REBUILD = "build it anew with tdattr-bank"
OF_GROUPS = ("top_1", "spearman")  # of the measures of agreement on groups
GroupScores = Float[np.ndarray, "query group"]


@dataclass(frozen=True)
class Subsets:
    """Random sets of the items, and how well models that saw nothing else denoise the queries."""

    members: Int[Tensor, "subset member"]  # places of items among those that F1 sees, ascending
    losses: Float[Tensor, "subset repeat query"]  # of a query: a mean over levels and noise; a repeat is a seed

    def ceiling(self, asked: slice) -> float | None:
        """What the losses under other seeds would reach as scores of those queries; None where there is one seed."""
        return repeat_ceiling(self.losses[:, :, asked].double().numpy())


@dataclass(frozen=True)
class BankData:
    """What a bank holds."""

    dataset: str
    training: Mapping[str, Any]  # what F1's weights depend on, but for the items themselves
    draws: int  # of level and noise, of every loss
    items: int  # that F1 sees
    asked: list[int]  # for each query, the id of the item that it takes its condition from
    x: Float[Tensor, "query *x"]  # the queries as the sampler left them
    images: Float[Tensor, "query channel height width"]  # in [-1, 1]
    f1_losses: Float[Tensor, " query"]
    subsets: Mapping[str, Subsets] = field(default_factory=dict)  # by the share of the items that they hold: "0.5"
    groups: Mapping[str, str] = field(default_factory=dict)  # a digest of the ids of each
    logo: Float[Tensor, "seed query group"] | None = None  # LOGO's scores
    made_with: Mapping[str, str] = field(default_factory=dict)  # versions, for people

    def halve_logo(self, asked: slice) -> tuple[GroupScores, GroupScores]:
        """The means of LOGO's scores of those queries under half of its seeds, which is gold, and under the others."""
        assert self.logo is not None
        logo = self.logo.double().numpy()[:, asked]
        half = len(logo) // 2
        return logo[:half].mean(0), logo[half:].mean(0)

    def ceilings(self, asked: slice) -> dict[str, float | None]:
        """What retraining under other seeds reaches for those queries by every measure but those of the truth."""
        ceilings = {name_lds(share): subsets.ceiling(asked) for share, subsets in self.subsets.items()}
        if self.logo is not None:
            gold, others = self.halve_logo(asked)
            ceilings |= reach("logo", gold, [others])
        return ceilings

    def save(self, folder: Path) -> None:
        """Write it into a folder, in one step. What methods reached by another bank there is removed."""
        tensors = {"x": self.x, "images": self.images, "f1_losses": self.f1_losses}
        if self.logo is not None:
            tensors["logo"] = self.logo
        for share, subsets in self.subsets.items():
            tensors[f"{SUBSETS}{share}.members"] = subsets.members.to(torch.int32)
            tensors[f"{SUBSETS}{share}.losses"] = subsets.losses
        facts = {name: getattr(self, name) for name in FACTS}
        folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: value.contiguous() for name, value in tensors.items()}
        path = folder / FILE
        before = digest(path) if path.exists() else None
        with writing(folder):
            save_file(contiguous, name_aside(path), {"bank": json.dumps(facts, sort_keys=True)})
            if before != digest(name_aside(path)):
                (folder / LEADERBOARD).unlink(missing_ok=True)
            move_into_place(name_aside(path), path)


def name_lds(share: str | float) -> str:
    """The measure by subsets of that share of the items."""
    return f"lds_{100 * float(share):.0f}"


def reach(name: str, gold: GroupScores, others: Sequence[GroupScores]) -> dict[str, float]:
    """Each measure of agreement with gold, as ``logo_top_1``: the mean over queries and all that is as good as gold."""
    found = [agreement(gold, other) for other in others]
    return {f"{name}_{measure}": float(np.mean([each[measure].mean() for each in found])) for measure in OF_GROUPS}


FACTS = ("dataset", "training", "draws", "items", "asked", "groups", "made_with")


def load_bank(folder: Path) -> BankData:
    """The bank in a folder. Raises UserError where there is none, or it cannot be read."""
    path = folder / FILE
    if not path.is_file():
        shipped = sorted(path.parent.name for path in BANKS.glob(f"*/{FILE}"))
        hint = f", or choose a dataset that has one ({', '.join(shipped)})" if shipped else ""
        raise UserError(f"There is no bank in {folder}: make it with tdattr-bank dataset=NAME{hint}.")
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["bank"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
        shares = sorted({name.removeprefix(SUBSETS).rpartition(".")[0] for name in tensors if name.startswith(SUBSETS)})
        subsets = {
            share: Subsets(tensors[f"{SUBSETS}{share}.members"].long(), tensors[f"{SUBSETS}{share}.losses"])
            for share in shares
        }
        return BankData(
            **{name: facts[name] for name in FACTS},
            x=tensors["x"],
            images=tensors["images"],
            f1_losses=tensors["f1_losses"],
            subsets=subsets,
            logo=tensors.get("logo"),
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(f"The bank in {folder} cannot be read ({error}): {REBUILD}.") from error
