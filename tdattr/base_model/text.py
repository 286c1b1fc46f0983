"""CLIP on glyphs and their prompts (Radford et al. 2021): its text tower is Stable Diffusion's text encoder."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tdattr.base_model import TextConfig
from tdattr.base_model.loop import fit
from tdattr.base_model.prompts import known_prompts, make_tokenizer, word
from tdattr.data.glyphs import OBJECTS, name_glyph
from tdattr.data.prepared import Split
from tdattr.seeding import generator, torch_seed
from tdattr.tables import DataFrame

CLIP = "clip"  # the folder of the whole model
TOKENIZER = "tokenizer"
COLOURS = 3  # that readers of CLIP give it; gray images are repeated
GRAY = 0.5  # mean and standard deviation of what it sees, of pixels in [0, 1]: in [-1, 1] then
HIGHEST_SCALE = math.log(100)  # of the logits, as CLIP has it
SAME_CHARACTER = 8  # items of a batch, so that the descriptors are what tells these apart
INTERMEDIATE = 4  # times as wide the layer inside of a block is


def build_clip(config: TextConfig, tokenizer: Any, resolution: int, seed: int) -> Any:
    """The model before training."""
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": config.width,
        "intermediate_size": INTERMEDIATE * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "projection_dim": config.projection,
    }
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": config.tokens,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"image_size": resolution, "patch_size": config.patch, "num_channels": COLOURS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "base.clip"))
        return CLIPModel(
            CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=config.projection)
        )


def tokenize(tokenizer: Any, prompts: list[str]) -> Int[Tensor, "prompt token"]:
    """Token ids, all of the tokenizer's length."""
    return tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def train_clip(
    config: TextConfig, data: Split, test: Split, wordings: int, seed: int, device: torch.device, folder: Path
) -> Mapping[str, Any]:
    """Train on images and prompts and write ``clip/`` and ``tokenizer/`` into ``folder``; gives what was measured."""
    resolution = data.pixels.shape[1]
    tokenizer = make_tokenizer(known_prompts(), config.tokens)
    model = build_clip(config, tokenizer, resolution, seed).to(device)
    prompts, indices = word(data.items, wordings, seed)
    ids = tokenize(tokenizer, prompts).to(device)
    same = data.items.groupby(["object", "descriptors"], sort=True).ngroup().to_numpy()

    def loss(step: int) -> Float[Tensor, ""]:
        with torch.no_grad():
            model.logit_scale.clamp_(max=HIGHEST_SCALE)
        rng = generator(seed, "base.clip.batch", step)
        items = draw_items(data.items, config.train.batch_size, rng)
        images = shift(data.images(items), config.shift, rng).to(device)
        chosen = ids[torch.from_numpy(indices[items, rng.integers(wordings, size=len(items))]).to(device)]
        output = model(input_ids=chosen, pixel_values=images.expand(-1, COLOURS, -1, -1))
        alike = torch.from_numpy((same[items][:, None] == same[items]).astype(np.float32)).to(device)
        target = alike / alike.sum(1, keepdim=True)  # items with equal prompts are right answers, all of them
        across = functional.cross_entropy(output.logits_per_image, target)
        return (across + functional.cross_entropy(output.logits_per_text, target)) / 2

    last = fit(model, loss, config.train, folder, "Training the text encoder", "base.text.train")
    save_clip(model.cpu(), tokenizer, resolution, folder)
    model.to(device)
    return {"loss": last} | {f"test_{name}": value for name, value in measure_accuracy(model, tokenizer, test).items()}


def draw_items(items: DataFrame, size: int, rng: np.random.Generator) -> Int[np.ndarray, " size"]:
    """Some characters and, of each, some items: with all items alike, the character alone would tell a batch apart."""
    of_character = [np.asarray(rows) for rows in items.groupby("object", sort=True).indices.values()]
    drawn: list[int] = []
    while len(drawn) < size:
        rows = of_character[rng.integers(len(of_character))]
        drawn += rng.choice(rows, min(SAME_CHARACTER, len(rows)), replace=False).tolist()
    return np.array(drawn[:size])


def shift(
    images: Float[Tensor, "item channel height width"], most: int, rng: np.random.Generator
) -> Float[Tensor, "item channel height width"]:
    """All images moved by the same up to ``most`` pixels in each direction; black comes in."""
    down, across = (int(value) for value in rng.integers(0, 2 * most + 1, size=2))
    height, width = images.shape[2:]
    padded = functional.pad(images, (most, most, most, most), value=-1.0)
    return padded[:, :, down : down + height, across : across + width]


def save_clip(model: Any, tokenizer: Any, resolution: int, folder: Path) -> None:
    """``clip/`` as published CLIPs are, and ``tokenizer/`` as in a pipeline."""
    from transformers import CLIPImageProcessor
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of writing a file of a megabyte
    for place in (folder / CLIP, folder / TOKENIZER):
        tokenizer.save_pretrained(place)
        content = json.loads((place / "tokenizer.json").read_text())["model"]
        (place / "vocab.json").write_text(json.dumps(content["vocab"], allow_nan=False))
        lines = [" ".join(pair) for pair in content["merges"]]
        (place / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]))
    model.save_pretrained(folder / CLIP)
    values = [GRAY] * COLOURS
    size = {"shortest_edge": resolution}
    CLIPImageProcessor(size=size, crop_size=resolution, image_mean=values, image_std=values).save_pretrained(
        folder / CLIP
    )


@torch.inference_mode()
def measure_accuracy(model: Any, tokenizer: Any, data: Split) -> dict[str, float]:
    """How often the right prompt of an image is the most alike one: among all characters in its typeface
    (``character``), and of its character among all typefaces of the split (``typeface``); empty for an empty split."""
    if not len(data):
        return {}
    images = data.images(np.arange(len(data))).expand(-1, COLOURS, -1, -1).to(model.device)
    vision = model.vision_model(pixel_values=images).pooler_output
    seen = functional.normalize(model.visual_projection(vision), dim=1)
    typefaces = sorted(set(data.items["descriptors"]))
    prompts = [name_glyph(character, descriptors) for character in OBJECTS for descriptors in typefaces]
    text = model.text_model(input_ids=tokenize(tokenizer, prompts).to(model.device)).pooler_output
    told = functional.normalize(model.text_projection(text), dim=1)
    likeness = (seen @ told.T).reshape(len(data), len(OBJECTS), len(typefaces)).cpu()
    items = torch.arange(len(data))
    character = torch.tensor([OBJECTS.index(name) for name in data.items["object"]])
    typeface = torch.tensor([typefaces.index(name) for name in data.items["descriptors"]])
    return {
        "character": float((likeness[items, :, typeface].argmax(1) == character).float().mean()),
        "typeface": float((likeness[items, character].argmax(1) == typeface).float().mean()),
    }
