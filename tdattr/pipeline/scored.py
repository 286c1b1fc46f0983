"""The scores of one query: what they must be, and how they are stored."""

import torch

from tdattr.errors import UserError
from tdattr.methods import Method, Scored
from tdattr.scores import SHARED, TWINS

FILE = "scores.safetensors"  # of one query
ERRORS = "standard_errors"


def tensors(scored: Scored) -> dict[str, torch.Tensor]:
    """The scores of a query as they are stored."""
    errors = {} if scored.standard_errors is None else {ERRORS: scored.standard_errors.float().clone().contiguous()}
    twins = {} if scored.twins is None else {TWINS: scored.twins.ids, SHARED: scored.twins.shared.float().contiguous()}
    return {"scores": scored.scores.float().contiguous()} | errors | twins


def check_scored(scored: Scored, method: Method, targets: int) -> None:
    """Raise TypeError for scores of another shape than the method owes, UserError for scores that are not finite in the
    precision in which they are stored."""
    shape = (len(method.dampings), targets) if method.dampings else (targets,)
    for part in (scored.scores, scored.standard_errors):
        if part is not None and part.shape != shape:
            raise TypeError(f"{method.name} gave an array of shape {tuple(part.shape)} for a query instead of {shape}")
    if scored.standard_errors is not None and not scored.standard_errors.isfinite().all():
        raise UserError(f"{method.name} gave standard errors that are not finite: {method.remedy}.")
    finite = tensors(scored)["scores"].isfinite()
    if not finite.all():
        spoilt = zip(method.dampings or [], finite.all(-1).reshape(-1).tolist(), strict=False)
        under = ", ".join(f"{damping:g}" for damping, good in spoilt if not good)
        raise UserError(
            f"{method.name} gave {int((~finite).sum())} of {finite.numel()} scores of a query that are not finite"
            f"{f', under the dampings {under}' if under else ''}: {method.remedy}."
        )
