"""A Stable Diffusion of a few thousand weights that tests make and save themselves, in the files of a pipeline."""

import json
import string
from pathlib import Path
from typing import Any

import torch

TOKENS, WIDTH = 16, 8  # of a prompt, and numbers of the vector of each
UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
# as runwayml/stable-diffusion-v1-5 had it
PNDM: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


def vocabulary() -> dict[str, int]:
    """Single letters, digits and marks, and a few words of prompts of glyphs, each with its token id."""
    letters = list(string.ascii_lowercase + string.digits + ".,-")
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    for first, second in merges():
        pieces.append(first + second)
    return {piece: index for index, piece in enumerate(pieces)}


def merges() -> list[tuple[str, str]]:
    """By which the words are made of their letters, from the left."""
    made: dict[tuple[str, str], None] = {}
    words = ("the", "digit", "capital", "small", "letter", "in", "a", "typeface", "bold", "serif", "sans", "upright")
    for word in (*words, "slanted", "monospaced"):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            made[parts[0], parts[1]] = None
            parts = [parts[0] + parts[1], *parts[2:]]
    return list(made)


def save_pipeline(folder: Path, seed: int = 0, **unet: Any) -> Path:
    """U-Net, text encoder, tokenizer and scheduler; arguments change those of the U-Net."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    pieces = vocabulary()
    text = CLIPTextConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        UNet2DConditionModel(**(UNET | unet)).save_pretrained(folder / "unet")
        CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    CLIPTokenizer(vocab=pieces, merges=merges(), model_max_length=TOKENS).save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(PNDM))
    return folder
