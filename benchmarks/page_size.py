"""How large is the page of a large report, and how soon is it seen?

Writes runs as the pipeline does, of methods that name items which no other method names, so that hardly a picture is
there twice: nothing makes a page larger. Pictures are noise with the spectrum of photographs. The real command reports
on them, and Chromium without a window opens the file: first paint, and when the queries are there.

    python benchmarks/page_size.py [--queries 100] [--methods 12] [--side 32 256] [--rounds 3]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from jaxtyping import Float, UInt8
from safetensors.torch import save_file

from tdattr.scores import LISTED
from tdattr.tables import write_table

COMMAND = "import sys; sys.argv[0] = 'tdattr-report'; from tdattr.cli import report; report()"
SLOPE = 1.3  # of the amplitudes of a photograph's frequencies
MIX = np.array([[1.0, 0.8, 0.8], [0.3, 1.0, 0.6], [0.1, 0.2, 0.4]])  # of three planes into colours that go together
POOL = 64  # photographs, of which every picture is a shifted and turned copy with noise of its own
METHODS = (
    "random",
    "pixel",
    "condition",
    "clip",
    "dino",
    "tracin",
    "trak",
    "dtrak",
    "das",
    "forward_inf",
    "abu",
    "mucs",
)
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
DRAWN = "document.querySelectorAll('.current .card').length > 0 && performance.now()"


def draw_photograph(side: int, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"]:
    """Noise with the spectrum of one."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequencies[0, 0] = 1 / side
    planes = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / frequencies**SLOPE).real for _ in range(3)]
    values = np.stack(planes, axis=-1) @ MIX
    return (120 + 50 * (values - values.mean()) / values.std()).clip(0, 255).astype(np.uint8)


def draw_photographs(count: int, side: int, seed: int) -> UInt8[np.ndarray, "count side side 3"]:
    """So many that all differ, but by chance."""
    rng = np.random.default_rng(seed)
    pool = [draw_photograph(side, rng) for _ in range(POOL)]
    pictures = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        turned = np.rot90(pool[index % POOL], int(rng.integers(4)))
        shifted = np.roll(turned, tuple(rng.integers(side, size=2)), (0, 1))
        pictures[index] = shifted if rng.random() < 0.5 else shifted[:, ::-1]
    return pictures


def save(root: Path, name: str) -> Path:
    """The folder of an artifact, as of a version without digests."""
    folder = root / "artifacts" / name
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text("{}")
    return folder


def save_images(root: Path, name: str, pictures: UInt8[np.ndarray, "count side side 3"], side: int) -> Path:
    """Generated images, in [-1, 1]."""
    folder = save(root, name)
    images: Float[torch.Tensor, "count 3 side side"] = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    save_file({"images": images.contiguous()}, folder / "images.safetensors")
    return folder


def write_runs(root: Path, queries: int, methods: int, side: int) -> None:
    """One seed of every method."""
    per_method = queries * LISTED
    items = per_method * methods
    told = [f"a photograph of number {index}" for index in range(items)]
    dataset = save(root, "dataset/1")
    columns = {"id": range(items), "prompt": told, "style": [f"style {index % 20}" for index in range(items)]}
    write_table(dataset / "train_items.csv", pd.DataFrame(columns))
    np.save(dataset / "train_images.npy", draw_photographs(items, side, 0))
    np.save(dataset / "train_conditions.npy", np.zeros((items, 1, 1), np.float32))
    table = pd.DataFrame({"query": range(queries), "prompt": told[:queries], "style": "style 1"})
    write_table(save_images(root, "queries/1", draw_photographs(queries, side, 1), side) / "queries.csv", table)
    save_images(root, "regenerated_random/1", draw_photographs(queries, side, 2), side)
    rng = np.random.default_rng(3)
    for number, method in enumerate(METHODS[:methods]):
        scores = rng.normal(size=(queries, items)).astype(np.float32)
        for query in range(queries):
            first = number * per_method + query * LISTED
            scores[query, first : first + LISTED] += 20
        folder = save(root, f"scores/{number}")
        save_file({"scores": torch.from_numpy(scores)}, folder / "scores.safetensors")
        np.save(folder / "ids.npy", np.arange(items))
        save_images(root, f"regenerated/{number}", draw_photographs(queries, side, 4 + number), side)
        values = {"ssim": rng.uniform(0.3, 0.7, queries), "ssim_random": rng.uniform(0.4, 0.8, queries)}
        verdict = pd.DataFrame({"query": range(queries), "role": "attributed"} | values)
        write_table(save(root, f"evaluation/{number}") / "queries.csv", verdict)
        roles = {role: f"{role}/{number}" for role in ("scores", "evaluation", "regenerated")}
        roles |= {role: f"{role}/1" for role in ("dataset", "queries", "regenerated_random")}
        write_run(root / "runs" / str(number), method, queries, root, roles)


def write_run(folder: Path, method: str, queries: int, root: Path, roles: dict[str, str]) -> None:
    """The folder of a run."""
    folder.mkdir(parents=True)
    chosen: dict[str, Any] = {"dataset": "photographs", "model": "dit", "diffusion": "edm", "protocol": "leave_k_out"}
    summary = chosen | {"method": method, "seed": 1, "num_queries": queries, "seconds_per_query": 1.0, "k": 4}
    summary |= {"title": "k = 4", "metrics": {"ssim": {}}, "removed": 4, "overlap_percent": 1.0, "overlap_ci95": 1.0}
    (folder / "summary.json").write_text(json.dumps(summary | {"artifacts": roles}))
    config: dict[str, Any] = {node: {"name": name} for node, name in chosen.items()}
    config |= {"seed": 1, "method": {"name": method}, "paths": {"artifacts": str(root / "artifacts")}}
    config |= {"queries": {"attributed": queries}, "trainer": {"precision": "32-true"}}
    config["dataset"] |= {"groups": "style", "text": {"name": "clip"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def open_page(path: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds until the first paint and until the queries are there, in a new browser each time."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    painted, drawn = [], []
    with sync_playwright() as playwright:
        for _ in range(rounds):
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(path.as_uri())
            drawn.append(page.wait_for_function(DRAWN).json_value() / 1000)
            painted.append(page.evaluate(PAINTED) / 1000)
            browser.close()
    return painted, drawn


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--methods", type=int, default=12)
    parser.add_argument("--side", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder for the pages")
    options = parser.parse_args()
    for side in options.side:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            write_runs(root, options.queries, options.methods, side)
            started = time.perf_counter()
            command = [sys.executable, "-c", COMMAND, str(root / "runs"), "--out", str(root / "report")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
            seconds = time.perf_counter() - started
            page = root / "report" / "index.html"
            painted, drawn = (statistics.median(times) for times in open_page(page, options.rounds))
            print(
                f"{options.queries} queries x {options.methods} methods x {LISTED} items of {side} pixels: "
                f"{page.stat().st_size / 1e6:.1f} MB, written in {seconds:.0f} s; first paint after {painted:.2f} s, "
                f"queries after {drawn:.2f} s"
            )
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(page, options.keep / f"{side}.html")


if __name__ == "__main__":
    main()
