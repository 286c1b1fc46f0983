"""How the tests of methods of groups unlearn, unless they say otherwise."""

from tdattr.unlearning.group import GroupUnlearnConfig

UNLEARN = GroupUnlearnConfig(
    epochs=None,
    steps=4,
    kept=[],
    batch_size=8,
    forgotten=None,
    composition="fixed",
    mirror=None,
    condition_dropout=None,
    learning_rate=1e-3,
    optimizer="adamw",
    weight_decay=0.0,
    clip=None,
    schedule="constant",
    schedule_steps=None,
    warmup_steps=0,
    retain="loss",
    dropout=True,
    mask=None,
    coupled=False,
)
