"""What takes long to import, besides torch."""

HEAVY = {"lightning", "timm", "diffusers", "transformers", "torchvision", "torchmetrics", "sklearn", "scipy", "wandb"}
HEAVY |= {"pandas", "matplotlib", "rich", "tensorboard", "peft", "accelerate"}
