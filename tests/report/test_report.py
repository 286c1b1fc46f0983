"""The report's pictures and its tables of runs that are only pretended."""

import base64
import html
import io
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from tdattr.errors import UserError
from tdattr.pictures import data_uri, grid, to_uint8
from tdattr.report import page
from tdattr.report.collect import Run, collect
from tdattr.report.command import describe_left_out
from tdattr.report.naming import name_variants, tell_usual
from tdattr.report.per_query import numeric_columns
from tdattr.report.plots import draw_distributions
from tdattr.report.sweeps import COST, find_sweeps
from tdattr.report.tables import HEADINGS, format_row, make_rows
from tests.report.outputs import UNPICTURED, Outputs


def test_pixels_survive_the_way_to_tensors_and_back() -> None:
    pixels = torch.arange(256).reshape(1, 1, 16, 16)
    shown = to_uint8(pixels / 127.5 - 1)
    assert shown.shape == (1, 16, 16, 3)
    assert shown.dtype == np.uint8
    assert (shown == pixels.permute(0, 2, 3, 1).numpy()).all()


def test_colours_stay_in_place_and_in_range() -> None:
    image = torch.tensor([-1.0, 0.2, 7.0]).reshape(1, 3, 1, 1).expand(2, 3, 4, 5)
    assert to_uint8(image).shape == (2, 4, 5, 3)
    assert to_uint8(image)[1, 3, 4].tolist() == [0, 153, 255]


@pytest.mark.parametrize(("count", "channels", "size"), [(1, 1, 8), (10, 1, 8), (11, 3, 16), (23, 1, 64)])
def test_a_grid_shows_every_image_enlarged_and_in_order(count: int, channels: int, size: int) -> None:
    values = torch.linspace(-0.9, 0.9, count)
    picture = grid(values[:, None, None, None].expand(count, channels, size, size).contiguous())
    lines = -(-count // 10)
    assert picture.shape[2] == 3
    assert picture.shape[0] >= 64 * lines
    assert picture.shape[1] >= 64 * min(count, 10)
    found = []
    for line in range(lines):
        for column in range(min(count, 10)):
            row_middle = int((line + 0.5) * picture.shape[0] / lines)
            column_middle = int((column + 0.5) * picture.shape[1] / min(count, 10))
            found.append(int(picture[row_middle, column_middle, 0]))
    assert found[:count] == ((values + 1) * 127.5).round().int().tolist()


def test_a_data_uri_is_the_image() -> None:
    image = np.random.default_rng(0).integers(256, size=(7, 5, 3), dtype=np.uint8)
    head, body = data_uri(image).split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), image)


def test_distributions_draws_a_panel_per_method() -> None:
    rng = np.random.default_rng(0)
    text = draw_distributions({"mucs": (rng.random(9), rng.random(9)), "pixel": (rng.random(9), rng.random(9))}, "ssim")
    assert text.startswith("<svg")
    assert text.rstrip().endswith("</svg>")
    for name in ("$x_{$", "r$^$", "日本語", "<b>&", "--"):  # no formulas, in no font, no markup
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn = draw_distributions({name: (rng.random(9), rng.random(9))}, "ssim")
        assert f">{html.escape(name, quote=False)}</text>" in drawn
    same = np.full(4, 0.5)
    assert draw_distributions({"mucs": (same, same)}, "ssim").startswith("<svg")


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)


def test_seeds_are_pooled_and_methods_stand_side_by_side(outputs: Outputs) -> None:
    tables = {
        (method, seed): outputs.run(method, seed, shift)
        for method, shift in (("pixel", 0.1), ("mucs", 0.3), ("random", 0.0), ("clip", -0.2))
        for seed in (1, 2)
    }
    (experiment,) = collect([outputs.root]).experiments
    assert list(experiment.runs) == ["random", "clip", "mucs", "pixel"]
    assert experiment.seeds == [1, 2]
    table = {row["method"]: row for row in make_rows(experiment)}
    assert list(table) == ["random", "clip", "mucs", "pixel"]
    for method, row in table.items():
        pooled = pd.concat([tables[method, 1], tables[method, 2]])
        for role, key in (("attributed", "auc"), ("control", "control_auc")):
            part = pooled[pooled.role == role]
            expected = roc_auc_score(np.repeat([0, 1], len(part)), np.concatenate([part.ssim, part.ssim_random]))
            assert row[key] == pytest.approx(expected)
        part = pooled[pooled.role == "attributed"]
        changes = 100 * (part.ssim / part.ssim_random.median() - 1)
        assert row["difference_percent"] == pytest.approx(changes.mean())
        assert row["ci95"] == pytest.approx(1.98 * changes.std() / 12**0.5)
        assert (row["overlap"], row["removed"], row["seconds"], row["seeds"]) == (15, 30, 0.75, 2)
    assert not [key for key in table["random"] if key.startswith("p_against")]
    for method in ("mucs", "pixel", "clip"):
        for other in {"mucs", "pixel", "clip"} - {method}:
            own, others = (
                pd.concat([part[part.role == "attributed"].ssim for part in (tables[name, 1], tables[name, 2])])
                for name in (method, other)
            )
            expected = mannwhitneyu(own, others, alternative="less").pvalue
            assert table[method][f"p_against_{other}"] == pytest.approx(expected)
    assert table["mucs"]["p_against_pixel"] < 0.05 < 0.95 < table["pixel"]["p_against_mucs"]


def test_what_most_variants_have_is_said_once(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tdattr.report.catalogue.Catalogue.show_queries", lambda *_: []
    )  # pretended runs have no pictures
    for seed, steps in ((1, 10), (2, 10), (3, 10), (1, 20)):
        outputs.run("mucs", seed, settings={"unlearn": {"steps": steps, "kept": [1], "stop": 0.9}})
    outputs.run("pixel", 1)
    (experiment,) = collect([outputs.root]).experiments
    assert set(experiment.runs) == {"mucs", "mucs unlearn.steps=20", "pixel"}
    assert experiment.usual == ("mucs has unlearn.steps=10 where its name says nothing else.",)
    text = page.render([(experiment, [], [])], [], [])
    assert f'<p class="lead">{experiment.usual[0]}</p>' in text
    assert not tell_usual([{"method": {"name": "pixel"}, "trainer": {}}] * 2)


def test_runs_that_differ_in_the_precision_of_scores_are_rows_of_one_experiment(outputs: Outputs) -> None:
    for precision in (None, "float32", "bfloat16"):
        trainer = {"precision": "32-true"} | ({} if precision is None else {"scoring_precision": precision})
        outputs.run("mucs", 2 if precision == "float32" else 1, trainer=trainer)
    (experiment,) = collect([outputs.root]).experiments
    assert list(experiment.runs) == ["mucs", "mucs trainer.scoring_precision=bfloat16"]
    assert list(experiment.runs["mucs"]) == [1, 2]
    assert experiment.usual == ("mucs has trainer.scoring_precision=float32 where its name says nothing else.",)


def test_runs_of_the_same_allocation_are_seeds_of_one_method(outputs: Outputs) -> None:
    outputs.run("mucs", 1, settings={"score": {"pairs": 4}})  # of a version without it
    outputs.run("mucs", 2, settings={"score": {"pairs": 4, "allocation": "all", "doubt": 4.0, "pairs_each": 16}})
    outputs.run("mucs", 3, settings={"score": {"pairs": 4, "allocation": "all", "doubt": 5.0, "pairs_each": 3}})
    outputs.run("mucs", 1, settings={"score": {"pairs": 4, "allocation": "racing", "doubt": 4.0, "pairs_each": 16}})
    outputs.run("mucs", 1, settings={"score": {"pairs": 4, "allocation": "racing", "doubt": 5.0, "pairs_each": 16}})
    outputs.run("both", 1, settings={"members": {"mucs": {"score": {"pairs": 4}}}})
    outputs.run("both", 2, settings={"members": {"mucs": {"score": {"pairs": 4, "allocation": "all", "doubt": 4.0}}}})
    (experiment,) = collect([outputs.root]).experiments
    seeds = {name: list(runs) for name, runs in experiment.runs.items()}
    assert seeds == {
        "mucs": [1, 2, 3],
        "mucs score.allocation=racing score.doubt=4.0": [1],
        "mucs score.allocation=racing score.doubt=5.0": [1],
        "both": [1, 2],
    }


@pytest.mark.parametrize("later", ["all", "racing"])
def test_a_run_is_repeated_by_one_of_the_same_allocation(outputs: Outputs, later: str) -> None:
    outputs.run("mucs", 1, settings={"score": {"pairs": 4}})
    old = outputs.root / "runs" / "run 1"
    (old / "summary.json").unlink()
    os.utime(old / "config.yaml", (0, 0))
    outputs.run("mucs", 1, settings={"score": {"pairs": 4, "allocation": later, "doubt": 4.0, "pairs_each": 16}})
    assert (old in collect([outputs.root]).left_out) == (later != "all")


def test_unlearning_that_was_cut_short_is_said(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    for seed, share in ((1, 0.9), (2, 0.2)):
        outputs.run("mucs", seed, summary={"facts": {"capped": share}})
    outputs.run("abu", 1, summary={"facts": {"capped": 0.5}})
    outputs.run("pixel", 1)
    (experiment,) = collect([outputs.root]).experiments
    [said] = experiment.noted
    assert said.startswith("mucs: The unlearning of 55% of the queries ended at method.unlearn.max_steps")
    assert said in page.render([(experiment, [], [])], [], [])


def test_how_many_losses_a_race_took_is_said(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    for seed, share in ((1, 0.03), (2, 0.05)):
        facts = {"evaluations": 4000.0, "share_evaluated": share, "expected_misses": 0.01, "schedule_share": None}
        outputs.run("mucs", seed, summary={"facts": facts})
    outputs.run("pixel", 1)
    (experiment,) = collect([outputs.root]).experiments
    [said] = experiment.noted
    assert said.startswith("mucs: 4,000 losses after unlearning a query, 4.0% of all; 0.01 items of a query are")
    assert said in page.render([(experiment, [], [])], [], [])


def test_how_smooth_a_training_is_is_said(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UNPICTURED, lambda *_: [])
    for seed, growth in ((1, 2.0), (2, 3.0)):
        facts = {"growth": growth, "smoothness": 0.5}
        outputs.run("metagradient", seed, summary={"facts": facts, "method_warnings": ["It is not."]})
    (experiment,) = collect([outputs.root]).experiments
    said, warned = experiment.noted
    assert warned == "metagradient: It is not."
    assert said.startswith("metagradient: derivatives grow up to 2.5 times") and "smoothness is 0.50 of 1" in said
    assert said in page.render([(experiment, [], [])], [], [])


def test_variants_of_a_method_get_rows_of_their_own() -> None:
    configs = [{"name": "mucs", "unlearn": {"weight": weight, "stop": 0.95}} for weight in (0.1, 0.2)]
    usual = [{"name": "m", "k": {"x": 1}}, {"name": "m", "k": {"x": 1}}]
    assert name_variants([*usual, {"name": "m", "k": None}]) == ["m", "m", "m k=null"]
    assert name_variants([*usual, {"name": "m"}]) == ["m", "m", "m k=none"]
    masks = [None, None, {"_target_": "a.Saliency", "name": "saliency", "share": 0.2}]
    masked = [{"name": "m", "mask": mask} for mask in masks]
    assert name_variants(masked) == ["m", "m", "m mask=saliency"]
    assert name_variants([*masked, {"name": "m", "mask": {"_target_": "a.Other"}}])[3] == "m mask=Other"
    assert name_variants([*configs, {"name": "pixel"}]) == [
        "mucs unlearn.weight=0.1",
        "mucs unlearn.weight=0.2",
        "pixel",
    ]


def test_the_newest_of_equal_runs_counts(outputs: Outputs) -> None:
    outputs.run("mucs", 1, 0.0)
    newest = outputs.run("mucs", 1, 0.3)
    (experiment,) = collect([outputs.root / "runs"]).experiments
    pd.testing.assert_frame_equal(experiment.runs["mucs"][1].per_query, newest)


@pytest.mark.parametrize("quoted", [True, False])
def test_names_of_groups_stay_what_they_are(outputs: Outputs, quoted: bool) -> None:
    names = ["1", "2", "NA"]
    outputs.groups("pixel", 1, np.eye(3), np.eye(3)[::-1], names=names)
    run = collect([outputs.root / "runs"]).experiments[0].runs["pixel"][1]
    if not quoted:  # as older versions wrote them
        run.per_query.to_csv(run.artifact("evaluation").folder / "queries.csv", index=False)
    again = Run(run.folder, run.summary, run.config).per_query
    assert again["gold"].tolist() == names and again["named"].tolist() == names[::-1]
    assert numeric_columns(again) == numeric_columns(run.per_query) and "spearman" in numeric_columns(again)


def test_other_settings_are_another_comparison_and_the_newest_comes_last(outputs: Outputs) -> None:
    outputs.run("mucs", 1)
    outputs.run("mucs", 2, train={"steps": 6})
    outputs.run("mucs", 3)
    outputs.run("mucs", 4, trainer={"precision": "bf16-mixed", "workers": 0})
    found = [experiment.seeds for experiment in collect([outputs.root]).experiments]
    assert sorted(found) == [[1, 3], [2], [4]]
    assert found[-1] == [4]


def test_titles_have_settings_as_a_command_line_has_them(outputs: Outputs) -> None:
    for rank, mirror in ((None, False), (8, True)):
        outputs.run("mucs", 1, train={"lora": {"rank": rank, "alpha": None}, "mirror": mirror})
    titles = [experiment.title.partition(" per seed, ")[2] for experiment in collect([outputs.root]).experiments]
    assert titles == [
        f"train.lora.rank={rank}, train.mirror={mirror}" for rank, mirror in (("null", "false"), (8, "true"))
    ]


def test_folders_may_overlap(outputs: Outputs) -> None:
    outputs.run("mucs", 1)
    outputs.run("mucs", 2)
    one = outputs.root / "runs" / "run 1"
    assert [experiment.seeds for experiment in collect([one]).experiments] == [[1]]
    assert [experiment.seeds for experiment in collect([one, outputs.root]).experiments] == [[1, 2]]


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run"):
        collect([tmp_path, tmp_path / "missing"])


def test_an_interrupted_run_that_was_finished_later_is_not_missed(outputs: Outputs) -> None:
    for seed in (1, 2):
        outputs.run("mucs", seed)
    runs = outputs.root / "runs"
    folder = sorted(path.parent for path in runs.rglob("summary.json"))[0]
    for name in ("begun", "later"):
        shutil.copytree(folder, runs / name)
        (runs / name / "summary.json").unlink()
    os.utime(runs / "begun" / "config.yaml", (0, 0))
    os.utime(runs / "later" / "config.yaml", (2e9, 2e9))
    assert [path.name for path in collect([outputs.root]).left_out] == ["later"]


def test_what_is_not_shown_is_named_with_the_reason(outputs: Outputs) -> None:
    outputs.run("mucs", 1)
    outputs.run("mucs", 1)
    runs = outputs.root / "runs"
    for name, content in {"started": None, "damaged": "{", "old": "{}"}.items():
        hidden = [runs / name / ".hydra", runs / name / ".code" / "conf"]  # of a sweep: what it runs
        for folder in hidden:
            folder.mkdir(parents=True)
        for folder in (runs / name, *hidden):
            (folder / "config.yaml").write_text("seed: 1")
        if content is not None:
            (runs / name / "summary.json").write_text(content)
    outputs.run("mucs", 3)
    shutil.rmtree(outputs.root / "artifacts" / "evaluation" / "3")
    collected = collect([outputs.root])
    assert [experiment.seeds for experiment in collected.experiments] == [[1]]
    assert {folder.name: reason for folder, reason in collected.left_out.items()} == {
        "started": "not finished",
        "damaged": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "old": "its summary has no dataset",
        "run 1": "a newer run has the same settings and seed",
        "run 3": f"No such artifact: {outputs.root / 'artifacts' / 'evaluation' / '3'}",
    }
    lines = describe_left_out(dict.fromkeys([Path("a"), Path("b"), Path("c")], "why") | {Path("d"): "else"}, 2)
    assert lines == ["Not shown (why): a, b and 1 more.", "Not shown (else): d."]
    shutil.rmtree(outputs.root / "artifacts")
    with pytest.raises(UserError, match=r"No run below .* can be shown \(.*started: not finished\): name"):
        collect([outputs.root])


def test_what_a_checkpoint_says_of_retrains_is_known(outputs: Outputs) -> None:
    for imported in (False, True):
        outputs.run("mucs", 1, dataset=f"tiny {imported}", summary={"imported": imported})
    assert [experiment.imported for experiment in collect([outputs.root]).experiments] == [False, True]


def test_without_controls_and_other_methods_there_are_dashes(outputs: Outputs) -> None:
    outputs.run("mucs", 1, controls=0)
    (experiment,) = collect([outputs.root]).experiments
    (row,) = make_rows(experiment)
    assert row["control_auc"] is None
    shown = dict(zip(HEADINGS, format_row(row), strict=True))
    assert shown["control_auc"] == "–"
    assert shown["auc"] == f"{row['auc']:.3f}"
    assert shown["seeds"] == "1"


def test_a_swept_number_is_drawn_as_a_curve(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    outputs = Outputs(tmp_path)
    for groups in (4, 6, 8):
        gold = rng.normal(size=(12, groups))
        for rate in (0.1, 0.2, 0.1, 0.1)[: groups // 2]:  # its usual value differs between the experiments
            scores = gold + rng.normal(size=gold.shape)
            source = {"name": "mixtures", "source": {"groups": groups}}
            outputs.groups("guda_u-retrack", 1, gold, scores, dataset=source, settings={"rate": rate}, steps=groups)
    experiments = collect([tmp_path]).experiments
    assert len(experiments) == 3
    (sweep,) = find_sweeps(experiments)
    assert sweep.title == "Over dataset.source.groups: tiny, dit, edm, logo"
    assert (
        sweep.plot.count(">guda_u-retrack rate=0.1</text>") == sweep.plot.count(">guda_u-retrack rate=0.2</text>") == 1
    )
    assert COST in sweep.plot
    assert not find_sweeps(experiments[:2])


def test_a_swept_number_of_a_method_is_drawn_as_a_curve_with_a_line_for_what_else_differs(tmp_path: Path) -> None:
    gold = np.random.default_rng(0).normal(size=(12, 5))
    outputs = Outputs(tmp_path)
    for weight in (0.03, 0.3, 1.0):
        for rate in (0.1, 0.2):
            own = {"objective": {"name": "retrack", "weight": weight}, "rate": rate}
            outputs.groups("guda_u-retrack", 1, gold, gold, settings=own, steps=10)
    outputs.groups("guda_u-retrack", 1, gold, gold, settings=own | {"rate": 0.3, "clip": 1.0}, steps=10)
    (sweep,) = find_sweeps(collect([tmp_path]).experiments)
    assert sweep.title == "Over method.objective.weight: tiny, dit, edm: logo, 5 groups, 6 queries per seed"
    assert COST not in sweep.plot  # the same for all
    assert sweep.plot.count(">guda_u-retrack rate=0.1</text>") == 1
    assert sweep.plot.count(">guda_u-retrack rate=0.2</text>") == 1
    assert "rate=0.3" not in sweep.plot  # a single value


def test_methods_that_train_nothing_have_no_curve_of_their_cost(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    for groups in (4, 6, 8):
        gold = np.random.default_rng(groups).normal(size=(12, groups))
        outputs.groups("pixel", 1, gold, gold, dataset={"name": "mixtures", "source": {"groups": groups}})
    (sweep,) = find_sweeps(collect([tmp_path]).experiments)
    assert COST not in sweep.plot


def test_pictures_that_the_model_can_hardly_have_made_are_named(outputs: Outputs) -> None:
    """And of scores that nothing judged it is not said what was retrained."""
    pictures = [
        {"picture": "made.png", "loss": 1.0, "share_below": 1.0, "beyond": True, "far": False},
        {"picture": "like.png", "loss": 0.1, "share_below": 0.3, "beyond": False, "far": False},
    ]
    outputs.lds("pixel", 1, summary={"protocol": "none", "imported": True, "pictures": pictures})
    (experiment,) = collect([outputs.root]).experiments
    said = experiment.far_from_data
    assert said is not None and said.startswith("made.png: this model is unlikely") and not experiment.imported
