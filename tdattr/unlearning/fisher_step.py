"""Steps in the geometry of a diagonal Fisher information."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FisherStep(torch.optim.Optimizer):
    """θ -= rate · gradient / Fisher; a parameter whose Fisher information is zero stays as it is.

    ``fisher``: a tensor for each parameter, in their order.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], fisher: list[Float[Tensor, "..."]], rate: float) -> None:
        self.fisher = fisher
        super().__init__(parameters, {"rate": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step, in double precision."""
        outcome = None
        if closure is not None:
            with torch.enable_grad():
                outcome = closure()
        for group in self.param_groups:
            for parameter, fisher in zip(group["params"], self.fisher, strict=True):
                if parameter.grad is None:  # not part of what the query's loss depends on
                    continue
                if parameter.shape != fisher.shape:
                    raise ValueError(
                        f"a Fisher information of shape {fisher.shape} for a parameter of {parameter.shape}"
                    )
                information = fisher.to(parameter.device)
                change = torch.where(information > 0, parameter.grad.double() / information, 0)
                parameter.sub_(group["rate"] * change)
        return outcome
