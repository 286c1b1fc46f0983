"""Whether the step that is differentiated is the one that a training takes."""

import torch

from tdattr.errors import UserError
from tdattr.metagradients.forward import Training
from tdattr.metagradients.state import Layout, parts
from tdattr.metagradients.step import Step, read_counts
from tdattr.networks import Network

# ours, of the length of a gradient: rounding leaves 1e-5 of it, other dropout masks a tenth and more
MOST_DIFFERENCE = 0.01


def check_same_step(training: Training, step: Step, layout: Layout, trained: Network) -> None:
    """Raise UserError where the gradient of a step, as it is differentiated, is not that of the training: kernels of
    attention that have no second derivative may draw other dropout masks than the one that has. ``trained``: a network
    at whose weights dropout matters, where at first it may not. The training stands at its beginning, also
    afterwards."""
    initial = training.read(layout, training.start(layout, 0, None))
    weights = layout.join(dict(trained.named_parameters()))
    zero = torch.zeros_like(weights)
    before, after = training.states(layout, 0, 1, torch.cat([weights, zero, zero, weights]))
    training.start(layout, 0, initial)
    batch = training.batches[0].to(before.device)
    found = step(before, read_counts(batch, before), batch, 0)
    taken, differentiated = (parts(state)[1] for state in (after, found))  # the first moments, which were zero
    if not (differentiated - taken).norm() <= MOST_DIFFERENCE * taken.norm():
        raise UserError(
            f"On {before.device} a step of this training cannot be differentiated as it is taken, which is so where "
            "attention has dropout: set trainer.accelerator=cpu, or model.dropout=0 where the model has that."
        )
