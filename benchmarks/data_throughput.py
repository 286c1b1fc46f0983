"""Do data come fast enough? Photographs into the prepared form, and prepared items into training steps.

Preparing: photographs of COCO's size are read, cropped, resized and stored by `prepare`, against a plain loop that
reads and resizes one after the other. Loading: batches of a training set of COCO's size and form (64 x 64, five
captions of 768 values; made up, and memory-mapped) per second, against what a training step of the model consumes.
Also how much memory the loader takes beyond what the process had before: the arrays themselves stay on disk.

    python benchmarks/data_throughput.py [--photos 400] [--items 118287] [--model dit_s] [--workers 2] [--steps 30]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch.utils.data import DataLoader

from tdattr.configs import build
from tdattr.data.image_folder import ImageFolder
from tdattr.data.images import MAX_PIXELS
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Split
from tdattr.diffusion.batch import Batch
from tdattr.search_path import CONF
from tdattr.training.batches import Batches
from tdattr.training.quiet import quieten

SIZE, CAPTIONS, WIDTH = 64, 5, 768
STEPS_TIMED = 3
COCO_NETWORK = ["model.frame_channels=[16,16]", "model.frame_strides=[1,2]", "model.embedding_width=1024"]
PHOTO = (640, 480)


def preparing(folder: Path, photos: int, rounds: int) -> None:
    """Print photographs per second of the plain loop and of `prepare`, alternating."""
    (folder / "raw" / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(photos):
        coarse = Image.fromarray(rng.integers(256, size=(30, 40, 3), dtype=np.uint8)).resize(PHOTO)
        coarse.save(folder / "raw" / "photos" / f"{number}.jpg", quality=90)
    source = ImageFolder(str(folder / "raw"), SIZE, 3, "none", 0, None, MAX_PIXELS, "stop")
    plain, ours = [], []
    for number in range(rounds):
        started = time.perf_counter()
        images = [example.read() for example in source.examples("train")]
        plain.append(len(images) / (time.perf_counter() - started))
        (folder / f"prepared{number}").mkdir()
        started = time.perf_counter()
        prepare(source, folder / f"prepared{number}", "photographs")
        ours.append(photos / (time.perf_counter() - started))
    print(f"plain loop    {statistics.median(plain):8.0f} photographs per second (median of {rounds})")
    print(f"prepare       {statistics.median(ours):8.0f} photographs per second, with files and checksums")
    print(f"ratio         {statistics.median(b / a for a, b in zip(plain, ours, strict=True)):8.2f}")


def made_up(folder: Path, items: int) -> Split:
    """A training split of COCO's form on disk."""
    rng = np.random.default_rng(0)
    shapes = {"images": ((items, SIZE, SIZE, 3), np.uint8), "conditions": ((items, CAPTIONS, WIDTH), np.float32)}
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)  # type: ignore
        block = rng.integers(256, size=(1000, *shape[1:])).astype(dtype)
        for start in range(0, items, 1000):
            array[start : start + 1000] = block[: items - start]
        array.flush()
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return Split(arrays["images"], arrays["conditions"], pd.DataFrame({"id": range(items)}))


def anonymous_megabytes() -> float:
    """Memory of this process that no file backs."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def per_second(batches: Iterable[Batch]) -> float:
    """Images per second after the first batch, which starts the workers."""
    source = iter(batches)
    next(source)
    started, count = time.perf_counter(), 0
    for batch in source:
        count += len(batch)
    return count / (time.perf_counter() - started)


def loading(folder: Path, options: argparse.Namespace) -> None:
    """Print images per second of the loader and of the training step, and their ratio."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["dataset=coco", f"model={options.model}", *options.network, "train.batch_size=128"]
        cfg = compose("config", overrides)
    config, diffusion = build(cfg.train, "train"), build(cfg.diffusion, "diffusion")
    split = made_up(folder, options.items)
    before = anonymous_megabytes()
    batches = Batches(split, np.arange(options.items), diffusion, config, seed=1)
    alone = per_second(batches[step] for step in range(options.steps + 1))
    beyond = anonymous_megabytes() - before
    loader = DataLoader(batches, batch_size=None, sampler=range(options.steps + 1), num_workers=options.workers)
    several = per_second(loader)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(cfg.model, "model").build(3, SIZE, WIDTH).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    batch = batches[0][: options.step_batch].to(device)
    seconds = []
    for _ in range(STEPS_TIMED + 1):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = diffusion.loss(network, *batch.inputs).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())
        seconds.append(time.perf_counter() - started)
    need = options.step_batch / statistics.median(seconds[1:])
    assert isinstance(split.pixels, np.ndarray)
    size = (split.pixels.nbytes + (0 if split.conditions is None else split.conditions.nbytes)) / 2**20
    print(f"one process   {alone:8.0f} images per second from {options.items} items ({size:.0f} MB on disk)")
    print(f"{options.workers} workers     {several:8.0f} images per second")
    print(f"memory        {beyond:8.0f} MB more than before, none of it the arrays")
    print(f"a step needs  {need:8.1f} images per second ({options.model} on {device.type})")
    print(f"ratio         {alone / need:8.1f} (one process), {several / need:.1f} ({options.workers} workers)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=118_287)
    parser.add_argument("--model", default="dit_s")
    parser.add_argument("--network", nargs="*", default=COCO_NETWORK, help="overrides of the model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--step-batch", type=int, default=16, help="images in the training step that is timed")
    options = parser.parse_args()
    quieten()
    with tempfile.TemporaryDirectory() as folder:
        preparing(Path(folder), options.photos, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        loading(Path(folder), options)


if __name__ == "__main__":
    main()
