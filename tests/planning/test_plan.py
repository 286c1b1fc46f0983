"""``plan=true``: it builds nothing, counts what is shared once, says where its times come from, and refuses what a run
refuses."""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tdattr.costs import BACKWARD, NO_WORK, Cost, Work, record
from tdattr.methods import Context, Method, Scored, Scorer
from tdattr.planning.published import MINUTE_SECONDS, SCORING_RATE, TRAINING_RATE, read_trainings
from tdattr.planning.table import align, show_bytes, show_count, show_seconds
from tests.e2e.console import TINY, tdattr

SWEEP = ["-m", "method=random,pixel", *TINY, "trainer.accelerator=cpu"]


@dataclass(frozen=True)
class Silent(Method):
    """It does not say what it takes."""

    name: str

    def start(self, context: Context) -> Scorer:
        return lambda query: Scored(torch.zeros(len(context.ids)))


def rows(printed: str) -> dict[str, list[str]]:
    """The rows of a table by their names, as cells."""
    lines = [re.split(r" {2,}", line.strip()) for line in printed.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 3}


# -- units -------------------------------------------------------------------------------------------------------------


def test_work_adds_up_and_a_bound_stays_one() -> None:
    work = (Work(steps=2, trained=6, evaluations=5) + Work(steps=1, bytes=3).bound(True)) * 2
    assert work == Work(steps=6, trained=12, evaluations=10, bytes=6, at_most=True)
    assert work.passes == 10 + 12 * BACKWARD


@pytest.mark.parametrize(
    ("work", "units"),
    [(Work(evaluations=7, looks=9), 7), (Work(trained=2), 2 * BACKWARD), (Work(looks=9), 9), (NO_WORK, 1)],
)
def test_seconds_go_by_passes_or_by_images_or_by_artifacts(work: Work, units: int) -> None:
    assert record(Cost(work), "size") == {"work": {"like": "size", "units": units}}


def test_what_is_usual_counts_where_work_is_a_bound() -> None:
    cost = Cost(Work(evaluations=90, at_most=True), usual=Work(evaluations=9))
    assert record(cost, "size")["work"]["units"] == 9
    assert record(Cost(None), "size") == record(None, "size") == {}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (0.04, "0.0 s"), (59, "59.0 s"), (90, "1.5 min"), (5400, "1.5 h"), (4e6, "1,111 h")],
)
def test_times_are_in_the_unit_that_suits_them(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_counts_and_sizes_have_three_digits() -> None:
    assert [show_count(count) for count in (0, 999, 1234, 25_600_000)] == ["0", "999", "1.23 k", "25.6 M"]
    assert [show_bytes(count) for count in (12, 399_000_000)] == ["12 B", "399 MB"]


def test_columns_have_one_width() -> None:
    wide = ("a long name", "12", "1", "1", "1", "work", "1 s", "files", "1 B")
    lines = align([wide, ("b", "3", "-", "-", "-", "", "", "", "")])
    assert lines[1].index("3") == lines[0].index("12") + 1


def test_published_figures_are_those_of_the_paper() -> None:
    """MUCS, Table 4: 200, 250 and 300 thousand updates of 128; C.2: 1 to 2 days."""
    table = read_trainings().set_index("dataset")
    assert (table["passes"] / 128).to_dict() == {"cifar10": 200_000, "artbench10": 250_000, "coco": 300_000}
    days = table["minutes"] * MINUTE_SECONDS / 86_400
    assert days["cifar10"] == 1 and days["coco"] == 2 and 1 < days["artbench10"] < 2
    assert 1e13 < TRAINING_RATE < SCORING_RATE < 1e15  # operations a second that an H100 can have


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_a_sweep_is_planned_as_one_table_and_builds_nothing(tmp_path: Path) -> None:
    planned = tdattr(*SWEEP, "plan=true", folder=tmp_path)
    table = rows(planned.stdout)
    assert list(tmp_path.iterdir()) == []
    artifacts, there, shared, to_build = table["training of F1"][:4]
    assert (artifacts, there, shared, to_build) == ("1", "-", "1", "1")
    assert "12 steps, 96 gradients" in table["training of F1"][4] and "measured" in table["training of F1"]
    assert table["retraining"][0] == "2"  # the random removal is shared, the other one is not
    assert "2 jobs:" in planned.stdout and "3 trainings, 36 steps" in planned.stdout


@pytest.mark.e2e
def test_one_of_something_is_told_in_the_singular(tmp_path: Path) -> None:
    planned = tdattr("method=pixel", "until=generate", "plan=true", *TINY, folder=tmp_path).stdout
    assert "1 job: " in planned and "1 training, 12 steps, " in planned and "1 trainings" not in planned


@pytest.mark.e2e
def test_a_plan_starts_nothing_elsewhere(tmp_path: Path) -> None:
    """Whatever a command says of where its jobs run and who waits for them."""
    elsewhere = ["hydra/launcher=local", "hydra.launcher.pack=2", "sweep=detached", "workers=2"]
    planned = tdattr(*SWEEP, *elsewhere, "plan=true", folder=tmp_path)
    assert list(tmp_path.iterdir()) == [] and "2 jobs:" in planned.stdout
    assert "#1" not in planned.stderr and "#1" not in planned.stdout


@pytest.fixture
def experiments(tmp_path: Path) -> list[str]:
    """The options that find two experiments of a user's own, of which one asks for a plan."""
    (tmp_path / "conf/experiment").mkdir(parents=True)
    for name, plan in (("planned", "plan: true"), ("plain", "seed: 2")):
        (tmp_path / f"conf/experiment/{name}.yaml").write_text(f"# @package _global_\n{plan}\n")
    return ["--config-dir", str(tmp_path / "conf")]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        (["experiment=planned"], "1 job:"),
        (["-m", "experiment=planned", "seed=1,2", "hydra/launcher=local"], "2 jobs:"),
        (["-m", "experiment=planned,plain", "plan=true"], "2 jobs:"),
    ],
)
def test_a_config_file_may_ask_for_a_plan(given: list[str], jobs: str, experiments: list[str], tmp_path: Path) -> None:
    level = logging.getLogger("hydra").level
    planned = tdattr(*experiments, *given, *TINY, "trainer.accelerator=cpu", "until=generate", folder=tmp_path)
    assert jobs in planned.stdout and "training of F1" in rows(planned.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
    assert logging.getLogger("hydra").level == level


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        ("main", ["-m", "experiment=planned,plain"], "plan is true for some of these jobs alone"),
        ("prepare", ["plan=true"], "plan=true is for tdattr: leave it out here."),
    ],
)
def test_a_plan_that_cannot_be_made(
    command: str, given: list[str], said: str, experiments: list[str], tmp_path: Path
) -> None:
    done = tdattr(*experiments, *given, folder=tmp_path, command=command, check=False)
    assert done.returncode == 1 and said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


@pytest.mark.e2e
@pytest.mark.parametrize(("until", "scores"), [("generate", False), ("attribute", True)])
def test_a_plan_ends_where_the_run_does(until: str, scores: bool, tmp_path: Path) -> None:
    planned = tdattr("method=pixel", *TINY, "trainer.accelerator=cpu", f"until={until}", "plan=true", folder=tmp_path)
    table = rows(planned.stdout)
    assert "images" in table and ("scores, pixel" in table) == scores
    assert "retraining" not in table and "verdict, leave_k_out" not in table


@pytest.mark.e2e
def test_removals_that_scores_decide_are_counted(tmp_path: Path) -> None:
    """Of which there is one, and three of as many random items."""
    check = ["protocol=removal_loss", "protocol.k=2", "protocol.randoms=3", "trainer.accelerator=cpu"]
    planned = tdattr("method=pixel", *TINY, *check, "plan=true", folder=tmp_path).stdout
    table = rows(planned)
    assert table["retraining"][3] == "4" and table["losses of the queries"][3] == "5"
    assert "5 trainings" in planned and "at most" in planned


@pytest.mark.e2e
def test_a_plan_says_what_is_left(tmp_path: Path) -> None:
    """After the run nothing; after a loss what was lost, at the seconds that like artifacts took."""
    tdattr(*SWEEP, folder=tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    done = tdattr(*SWEEP, "plan=true", folder=tmp_path)
    assert "everything is there" in done.stdout and "0 s are left" in done.stdout
    assert "2 jobs:" in done.stdout and "were done by earlier runs" not in done.stderr
    for stage in ("evaluate", "generate", "generate_batch"):
        shutil.rmtree(tmp_path / "outputs/artifacts" / stage)
    left = tdattr(*SWEEP, "plan=true", folder=tmp_path)
    table = rows(left.stdout)
    assert table["training of F1"][1] == "1" and len(table["training of F1"]) == 4  # it is there
    assert table["retraining"][:4] == ["2", "2", "1", "-"]
    assert table["images"][3] == table["images"][0]
    assert "retraining" not in left.stderr
    lost = {path for path in before if path.parts[-3] in ("evaluate", "generate", "generate_batch")}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before - lost


@pytest.mark.e2e
def test_what_is_not_declared_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "conf/method").mkdir(parents=True)
    (tmp_path / "conf/method/silent.yaml").write_text("_target_: tests.planning.test_plan.Silent\nname: silent\n")
    planned = tdattr("--config-dir", str(tmp_path / "conf"), "method=silent", *TINY, "plan=true", folder=tmp_path)
    row = rows(planned.stdout)["scores, silent"]
    assert row[4:7] == ["unknown", "?", "unknown"]
    assert "and what is unknown" in planned.stdout


@pytest.mark.e2e
@pytest.mark.parametrize("wrong", ["method.nonsense=1", "queries.attributed=0", "protocol.k=9999"])
def test_a_plan_refuses_what_a_run_refuses(wrong: str, tmp_path: Path) -> None:
    said = [tdattr("method=pixel", *TINY, wrong, *plan, folder=tmp_path, check=False) for plan in ([], ["plan=true"])]
    assert [done.returncode for done in said] == [1, 1]
    assert said[0].stderr.splitlines()[-1] == said[1].stderr.splitlines()[-1]
    assert said[1].stdout == ""


@pytest.mark.e2e
def test_the_papers_scale_is_planned_without_the_data(tmp_path: Path) -> None:
    experiment = ["experiment=mucs_cifar10", "method=mucs", "plan=true"]
    table = rows(tdattr(*experiment, "method.score.allocation=all", folder=tmp_path).stdout)
    assert "200 k steps, 25.6 M gradients" in table["training of F1"][4]
    assert table["training of F1"][5:7] == ["24.0 h", "MUCS C.2"]
    assert table["scores, mucs"][6] == "MUCS Table 6" and table["scores, mucs"][5] == "≈ 7.6 h"  # 20 x 22.8 minutes
    assert table["losses of F1"][5:7] == ["0 s", "MUCS Table 6"]
    raced = rows(tdattr(*experiment, folder=tmp_path).stdout)  # which the paper's minutes say nothing of
    assert [raced[name][6] for name in ("losses of F1", "scores, mucs")] == ["by operations", "by operations"]
    assert raced["scores, mucs"][5].endswith(" min")
    assert list(tmp_path.iterdir()) == []
