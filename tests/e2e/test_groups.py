"""Groups from the command line: LOGO, its ceiling, GUDA, instance scores aggregated, and the truth of mixtures."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.console import TINY, tdattr

LOGO = [*TINY, "dataset.groups=half.csv", "protocol=logo", "elbo.stride=200"]
ESD = ["protocol=logo", "method=guda_u", "objective@method.objective=esd"]
GUDA = ["method=guda_u", "method.unlearn.steps=2", "method.unlearn.batch_size=8"]


def newest(folder: Path) -> dict:
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


def trained(folder: Path) -> int:
    return len([path for path in folder.glob("outputs/artifacts/pretrain/*") if not path.name.startswith(".")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a manifest of three groups of the digits, in which they were left out one by one."""
    folder = tmp_path_factory.mktemp("groups")
    rows = [f"{index},{'low' if index % 10 < 4 else 'high' if index % 10 < 8 else 'rest'}" for index in range(1621)]
    (folder / "half.csv").write_text("id,group\n" + "\n".join(rows))
    tdattr("method=logo", *LOGO, folder=folder)
    return folder


def test_logo_agrees_with_itself(folder):
    summary = newest(folder)
    assert trained(folder) == 1 + 3
    assert summary["groups"] == 3
    assert summary["facts"]["training_steps"] == 3 * 12
    assert summary["agreement"]["spearman"]["mean"] == summary["agreement"]["top_1"]["mean"] == 1
    table = pd.read_csv(folder / "outputs/artifacts" / summary["artifacts"]["evaluation"] / "queries.csv")
    assert len(table) == 3
    assert set(table["gold"]) <= {"low", "high", "rest"}


def test_guda_retrains_nothing_and_the_ceiling_shares_the_gold_models(folder):
    done = tdattr(*GUDA, *LOGO, "method.unlearn.warmup_steps=500", folder=folder)
    assert "Retraining" not in done.stderr
    told, unlearned = (done.stderr.index(words) for words in ("far inside its warm-up", "Unlearning 1 of 3"))
    assert told < unlearned
    assert newest(folder)["facts"]["training_steps"] == 6
    assert "retained_loss_growth" not in newest(folder)["facts"]  # two steps are too few to tell
    assert "spearman" in done.stderr
    tdattr(*GUDA, *LOGO, "method@protocol.ceiling=logo_again", folder=folder)
    assert trained(folder) == 2 * (1 + 3)  # and the full model under the other seed
    assert "ceiling" in newest(folder)["agreement"]["kendall"]


def test_one_unlearning_is_scored_at_several_of_its_steps(folder):
    def unlearned():
        return {path.parent.name for path in folder.glob("outputs/artifacts/unlearn/*/*.json")}

    before, points = unlearned(), ["method.unlearn.kept=[2,5]", "method.unlearn.steps=9", "method.scored=2,5"]
    tdattr("-m", "method=guda_u", GUDA[-1], *points, *LOGO, folder=folder)
    assert len(unlearned() - before) == 3
    summaries = sorted(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)[-2:]
    facts = [json.loads(path.read_text())["facts"]["training_steps"] for path in summaries]
    assert facts == [6, 15]
    done = tdattr("method=guda_u", *points[:2], "method.scored=8", *LOGO, folder=folder, check=False)
    assert "method.scored=8 is not among the steps whose weights are kept" in done.stderr.splitlines()[-1]


def test_esd_s_teacher_is_trained_once_for_all_groups_and_weights(folder):
    """F1 is unconditional; the teacher is told the groups, which need not be classes."""
    esd, before = [*ESD, *GUDA[1:], *LOGO, "dataset.source.condition=none"], trained(folder)
    done = tdattr(*esd, folder=folder)
    assert done.stderr.count("Training the teacher: 12 steps") == 1
    assert trained(folder) == before + (1 + 3) + 1
    first = newest(folder)["artifacts"]["scores"]
    tdattr(*esd, "method.objective.weight=0.1", folder=folder)
    assert trained(folder) == before + (1 + 3) + 1
    tdattr(*esd, "method.objective.teacher.train.steps=13", folder=folder)
    assert trained(folder) == before + (1 + 3) + 2
    assert newest(folder)["artifacts"]["scores"] != first


def test_the_weight_of_forgetting_grows_with_the_group(folder):
    def weights():
        found = [json.loads(path.read_text()) for path in folder.glob("outputs/artifacts/unlearn/*/*.json")]
        return {(each["config"]["removed"], each["config"]["objective"]["weight"]) for each in found}

    before, models = weights(), trained(folder)
    tdattr(*GUDA, *LOGO, "method.weight_by_size=true", folder=folder)
    new = sorted(weight for _, weight in weights() - before)
    sizes = sorted([sum(index % 10 in digits for index in range(1621)) for digits in (range(4), range(4, 8), (8, 9))])
    assert new == pytest.approx([0.03 * size / (1621 / 3) for size in sizes])
    assert trained(folder) == models


def test_a_method_may_visit_other_terms_than_gold(folder):
    tdattr("method=logo", *LOGO, "elbo.stride=50", "protocol.gold.elbo.stride=200", folder=folder)
    many = newest(folder)["agreement"]["pearson"]["mean"]
    done = tdattr("method=logo", *LOGO, "method.elbo.stride=50", "method.elbo.importance=4", folder=folder)
    assert "Retraining" not in done.stderr
    assert min(many, newest(folder)["agreement"]["pearson"]["mean"]) > 0.5


def test_scores_of_items_are_aggregated_and_all_stand_in_one_table(folder):
    tdattr("method=pixel", *LOGO, "protocol.aggregate.kind=max", folder=folder)
    assert newest(folder)["method"] == "pixel"
    for method in ("logo_images", "group_similarity"):
        small = ["method.extractor.steps=2", "method.extractor.batch_size=8"] * (method == "group_similarity")
        tdattr(f"method={method}", *small, *LOGO, folder=folder)
    done = tdattr(folder=folder, command="report")
    for method in ("logo", "guda_u-retrack", "logo_images", "group_similarity", "pixel"):
        assert method in done.stdout
    assert (folder / "outputs/report/index.html").stat().st_size > 10_000


def test_shapley_values_carry_their_error(folder):
    tdattr("method=shapley", "method.orders=2", *GUDA[1:], *LOGO, folder=folder)
    assert newest(folder)["facts"]["standard_error"] > 0


def test_other_groups_under_the_same_names_are_other_scores(folder):
    tdattr(*GUDA, *LOGO, folder=folder)
    before, models = newest(folder)["artifacts"], trained(folder)
    rows = [f"{index},{'high' if index % 10 < 4 else 'low' if index % 10 < 8 else 'rest'}" for index in range(1621)]
    text = (folder / "half.csv").read_text()
    (folder / "half.csv").write_text("id,group\n" + "\n".join(rows))
    tdattr(*GUDA, *LOGO, folder=folder)
    (folder / "half.csv").write_text(text)
    after = newest(folder)["artifacts"]
    assert all(before[role] != after[role] for role in ("scores", "gold", "evaluation"))
    assert trained(folder) == models  # the same sets of items, so that nothing was trained


def test_the_truth_of_mixtures(tmp_path):
    tiny = [argument for argument in TINY if not argument.startswith("dataset")]
    small = ["dataset=mixtures", "dataset.source.groups=3", "dataset.source.items=60", "dataset.source.test_items=12"]
    tdattr("method=pixel", "protocol=truth", *small, *tiny, folder=tmp_path)
    summary = newest(tmp_path)
    assert summary["groups"] == 3
    assert 0 <= summary["agreement"]["top_1"]["mean"] <= 1
    assert trained(tmp_path) == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=guda_u"], "method=guda_u-retrack scores groups"),
        (["protocol=logo", "dataset.groups=null"], "Groups are needed here"),
        (["protocol=logo", "dataset.groups=one.csv"], "choose groups of which there are at least two"),
        (["protocol=logo", "dataset.groups=alone.csv"], "has a single item"),
        (["protocol=logo", "method.unlearn.batch_size=0", "method=guda_u"], "batch_size"),
        (["protocol=logo", "method=guda_u", "method.elbo.t_min=5000"], "visits no term"),
        (
            [*ESD, "method.objective.teacher=null", "dataset.source.condition=none"],
            "objective=esd with teacher=null steers away from a condition of F1, which has none",
        ),
        (
            [*ESD, "model@method.objective.teacher.model=unet_diffusers_tiny"],
            "model=unet_diffusers_tiny is told timesteps",
        ),
        ([*ESD, "dataset.groups=null"], "Groups are needed here"),
        (
            ["protocol=logo", "method=guda_u", "objective@method.objective=siss", "method.unlearn.retain=distill"],
            "objective=siss cannot be run with method.unlearn.retain=distill: set it to loss",
        ),
        (["protocol=truth"], "composition"),
        (
            [
                "protocol=logo",
                "method@protocol.ceiling=logo_again",
                "protocol.gold.repeats=2",
                "protocol.ceiling.first=1",
            ],
            "set protocol.ceiling.first=2",
        ),
        (["protocol=logo", "method=logo", "protocol.gold.repeats=2"], "set method.first=2"),
        (["protocol=logo", "method=guda_u", "method.elbo.importance=1000"], "is no saving over all"),
        (["protocol=logo", "method=das", "method.damping=grid"], "protocol=lds"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(overrides, words, tmp_path):
    (tmp_path / "one.csv").write_text("id,group\n" + "\n".join(f"{index},all" for index in range(1621)))
    (tmp_path / "alone.csv").write_text("id,group\n" + "\n".join(f"{index},{index == 0}" for index in range(1621)))
    done = tdattr(*TINY, *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/pretrain/*"))
