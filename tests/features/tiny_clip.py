"""A CLIP of one layer that tests make and save themselves."""

import json
import string
from pathlib import Path
from typing import Any

import torch

SIZE, WIDTH, CONTEXT = 32, 12, 16
MEAN, STD = [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]


def save_clip(folder: Path, seed: int = 0) -> Any:
    """A CLIP model of one layer with a tokenizer of single characters, in the files of ``transformers``."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder.mkdir(parents=True)
    letters = list(string.ascii_lowercase + string.digits + ".,")
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT).save_pretrained(
        folder
    )
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(pieces), "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(
        text_config=layer | text,
        vision_config=layer | {"image_size": SIZE, "patch_size": 8},
        projection_dim=WIDTH,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=SIZE, image_mean=MEAN, image_std=STD).save_pretrained(
        folder
    )
    for name in ("vocab.json", "merges.txt"):  # the published folders have them beside tokenizer.json
        if not (folder / name).exists():
            raise AssertionError(f"the tokenizer was not saved with its {name}")
    return model
