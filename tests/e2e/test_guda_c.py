"""GUDA-C from the command line, on glyphs whose conditions are made of their prompts by a text encoder of the tests."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.e2e.console import TINY, tdattr
from tests.features.words import NODE

GLYPHS = [
    *(setting for setting in TINY if not setting.startswith("dataset=")),
    "dataset=glyph_digits",
    f"dataset.text={NODE}",
    "dataset.groups=family",
    "remove.groups=[Computer Modern Bold,Computer Modern Italic,Computer Modern Sans]",
    "train.ema=0.5",
    "elbo.stride=300",
    "protocol=logo",
]
GUDA = [
    "method=guda_c",
    "method.unlearn.steps=4",
    "method.unlearn.kept=[2]",
    "method.unlearn.batch_size=4",
    "method.unlearn.learning_rate=1e-3",
]
FORM = "'{object} in a {descriptors} typeface'"
AWSS = [
    "objective@method.objective=awss",
    "method.objective.text=null",
    f"method.objective.text={NODE}",
    f"method.objective.prompt={FORM}",
    "method.objective.descriptors=1",
]
OBJECTIVES = {
    "awss": AWSS,
    "uniform": ["objective@method.objective=uniform", f"method.objective.prompt={FORM}"],
    "style_removed": ["objective@method.objective=style_removed", f"method.objective.prompt={FORM}"],
    "matched_retain": ["objective@method.objective=matched_retain"],
    "esd": ["objective@method.objective=esd", "method.objective.teacher=null"],
}


def newest(folder: Path) -> dict:
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


def scores(folder: Path):
    return load_file(folder / "outputs/artifacts" / newest(folder)["artifacts"]["scores"] / "scores.safetensors")


def unlearned(folder: Path) -> int:
    return len(list(folder.glob("outputs/artifacts/unlearn/*/*.json")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where LOGO was run, so that it is not run again."""
    folder = tmp_path_factory.mktemp("guda_c")
    tdattr("method=logo", *GLYPHS, folder=folder)
    return folder


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_scores_styles(name: str, folder: Path) -> None:
    before = unlearned(folder)
    done = tdattr(*GUDA, *OBJECTIVES[name], *GLYPHS, folder=folder)
    assert "Retraining" not in done.stderr and "spearman" in done.stderr
    summary = newest(folder)
    assert (summary["method"], summary["groups"]) == (f"guda_c-{name}", 6)
    values = scores(folder)["scores"]
    assert values.isfinite().all() and values.std(1).min() > 0
    assert unlearned(folder) == before + 6


def test_a_point_on_the_way_is_what_a_run_that_ends_there_comes_to(folder: Path) -> None:
    """And scoring it unlearns nothing again."""
    tdattr(*GUDA, *AWSS, *GLYPHS, folder=folder)
    before, whole = unlearned(folder), scores(folder)["scores"]
    tdattr(*GUDA, *AWSS, "method.scored=2", *GLYPHS, folder=folder)
    assert unlearned(folder) == before
    kept = scores(folder)["scores"]
    short = [setting for setting in GUDA if "kept" not in setting and "steps" not in setting]
    tdattr(*short, "method.unlearn.steps=2", *AWSS, *GLYPHS, folder=folder)
    assert unlearned(folder) == before + 6
    assert kept.equal(scores(folder)["scores"]) and not kept.equal(whole)


def test_scores_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    """Two processes come to the same from the start."""
    (tmp_path / "outputs").mkdir()
    until = ["until=attribute", "queries.attributed=2"]
    for outputs, workers in ((folder, 1), (tmp_path, 2)):
        tdattr(*GUDA, *AWSS, *GLYPHS, *until, f"workers={workers}", folder=outputs)
    values = [
        {
            path.name: load_file(path / "scores.safetensors")["scores"]
            for path in place.glob("outputs/artifacts/query_scores/*")
        }
        for place in (folder, tmp_path)
    ]
    assert len(values[1]) == 2 * 2  # of the method and of LOGO, for each query
    assert all(values[0][name].equal(value) for name, value in values[1].items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset.text=null"], "objective=awss changes prompts, and this model's conditions are not made of any"),
        (["method.objective.prompt='A depiction of {object}, in {descriptors}'"], "of which 162 items have none"),
        (["dataset.groups=nothing"], "dataset.groups=nothing is neither a field of the items"),
        (["method.scored=3"], "method.scored=3 is not among the steps whose weights are kept, [2, 4]"),
        (["attributed_groups=[DejaVu Sans,Nope]"], "attributed_groups names 'Nope', which is no group of items"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(overrides: list[str], words: str, tmp_path: Path) -> None:
    done = tdattr(*GUDA, *AWSS, *GLYPHS, *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/pretrain/*"))


def test_encoders_of_descriptors_that_are_missing_are_named(tmp_path: Path) -> None:
    done = tdattr(*GUDA, *AWSS[3:], "method.objective.text.weights=nowhere", *GLYPHS, folder=tmp_path, check=False)
    assert "nowhere: put them there, or set `weights` of text clip_of_model" in done.stderr.splitlines()[-1]


def test_some_groups_are_attributed_and_anchors_come_from_all(folder: Path) -> None:
    """Each is unlearned as it is when all are attributed."""
    tdattr(*GUDA, *AWSS, *GLYPHS, folder=folder)
    before, whole = unlearned(folder), scores(folder)["scores"]
    tdattr(*GUDA, *AWSS, "attributed_groups=[DejaVu Sans,DejaVu Serif]", *GLYPHS, folder=folder)
    assert unlearned(folder) == before
    found = scores(folder)["scores"]
    assert found.shape == (3, 2) and found.equal(whole[:, [2, 4]])
