"""Settings of commands with a tiny Stable Diffusion, whose folder is ``sd``."""

SMALL = [
    *["model=sd15", "model.weights=sd", "diffusion=diffusers", "diffusion.steps=3", "queries.guidance=7.5"],
    *["dataset=glyphs", "dataset.source.characters=digits", "dataset.source.resolution=8"],
    *["train.steps=3", "train.batch_size=8", "train.accumulate=2", "train.epoch_steps=2", "train.keep=raw"],
    *["weights=raw", "queries.attributed=2", "queries.controls=0", "trainer.threads=1"],
]
TOKENS = "+text@dataset.text=tokens"
UNLEARN = ["method.unlearn.max_steps=2", "method.unlearn.batch_size=4", "method.score.pairs=2"]
MUCS = [*UNLEARN, "method.null_loss.batches=1", "method.null_loss.batch_size=4", "until=attribute"]
