"""Overrides that make methods small, for commands that tests run whole."""

MUCS = [
    "method=mucs", "method.null_loss.batches=2", "method.null_loss.batch_size=8", "method.unlearn.batch_size=8",
    "method.unlearn.max_steps=3", "method.score.pairs=6",
]  # fmt: skip
GRADIENTS = ["method.gradients.draws=2", "method.gradients.projection.dimension=16"]
UNLEARN = ["method=guda_u", "method.unlearn.steps=2", "method.unlearn.warmup_steps=1", "method.unlearn.batch_size=8"]
SHIFT = ["method.batch_size=8", "method.score.pairs=4"]
