"""The damped inverse of a feature kernel, for every damping at once, from one eigendecomposition."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.scoring.gradients import Stacked
from tdattr.scoring.projection import spans

FILE = "kernel.safetensors"
ROWS = 4096  # items at a time
EIGEN_PRODUCTS = 9  # multiplications for all eigenvectors of a symmetric matrix, over the cube of its size
NEGLIGIBLE = 1e-12  # of the largest eigenvalue; what is smaller is rounding


@dataclass(frozen=True)
class Kernel:
    """Φ seen in the eigenvectors of ΦᵀΦ, in which (ΦᵀΦ + damping I)⁻¹ is a division.

    In double precision: where the damping is far below the largest eigenvalue, single precision is all rounding.
    """

    basis: Float[Tensor, "feature rank"]
    values: Float[Tensor, " rank"]  # the eigenvalues
    items: Float[Tensor, "item rank"]  # Φ basis

    def scores(self, query: Float[Tensor, " feature"], damping: float) -> Float[Tensor, " item"]:
        """φ(query) (ΦᵀΦ + damping I)⁻¹ Φᵀ; float64."""
        return self.items @ ((query.double() @ self.basis) / (self.values + damping))

    def between(self, some: slice, others: slice, damping: float) -> Float[Tensor, "item other"]:
        """φ_i (ΦᵀΦ + damping I)⁻¹ φ_jᵀ of some items and others; float64."""
        return (self.items[some] / (self.values + damping)) @ self.items[others].T

    def unleveraged(self, damping: float) -> Float[Tensor, " item"]:
        """1 minus the leverage, the diagonal of Φ (ΦᵀΦ + damping I)⁻¹ Φᵀ; in (0, 1], float64, to all digits also where
        the leverage rounds to 1.

        Of an item, that is the sum of u² damping / (value + damping) over its parts u in the eigenvectors of ΦΦᵀ, whose
        squares sum to 1; in those that Φ does not reach, the value is 0. Where Φ reaches all of them, which is where
        leverages come near 1, nothing is subtracted.
        """
        reached = self.values > NEGLIGIBLE * self.values.max()
        shares = self.items[:, reached].square() / self.values[reached]
        complement = shares @ (damping / (self.values[reached] + damping))
        if shares.shape[1] < len(shares):
            complement = complement + (1 - shares.sum(1)).clamp(min=0)
        return complement


def count_products(items: int, size: int) -> int:
    """How many multiplications ``decompose`` takes, to a good factor: those of the matrix, and of its eigenvectors."""
    small, large = sorted((items, size))
    return small**2 * large + EIGEN_PRODUCTS * small**3


def decompose(features: Stacked, folder: Path) -> None:
    """Write eigenvectors and eigenvalues of ΦᵀΦ, from the smaller of ΦᵀΦ and ΦΦᵀ, in double precision."""
    items, size = features.shape
    if size <= items:
        gram = torch.zeros(size, size, dtype=torch.float64)
        for part in spans(items, ROWS):
            block = torch.from_numpy(features[part]).double()
            gram += block.T @ block
        values, basis = torch.linalg.eigh(gram)
    else:
        all_features = torch.from_numpy(features[:]).double()
        values, vectors = torch.linalg.eigh(all_features @ all_features.T)
        kept = values > NEGLIGIBLE * values.max()
        values, vectors = values[kept], vectors[:, kept]
        basis = all_features.T @ (vectors / values.sqrt())
    save_file({"basis": basis.contiguous(), "values": values.clamp(min=0)}, folder / FILE)


def load_kernel(features: Stacked, folder: Path) -> Kernel:
    """The kernel that ``decompose`` wrote for those features."""
    content = load_file(folder / FILE)
    parts = spans(features.shape[0], ROWS)
    items = torch.cat([torch.from_numpy(features[part]).double() @ content["basis"] for part in parts])
    return Kernel(content["basis"], content["values"], items)
