"""A setting that was given and is not read is an error that names what makes it so."""

from pathlib import Path

import pytest

import tdattr
from tdattr.errors import UserError
from tdattr.pipeline.unread import check_settled, check_unread
from tests.e2e.console import TINY
from tests.e2e.console import tdattr as command

pytestmark = pytest.mark.slow  # each composes a config

DDPM = ["diffusion=ddpm", "model.c_noise=log_sigma"]
UNLEARN = ["protocol=logo", "method=guda_u", "method.unlearn.schedule=constant"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the dataset is prepared once."""
    return tmp_path_factory.mktemp("unread")


@pytest.mark.parametrize(
    ("others", "unread", "reason"),
    [
        ([*DDPM, "diffusion.sampler=dpm_solver"], "diffusion.spacing=linspace", "diffusion.sampler=dpm_solver"),
        ([*DDPM, "diffusion.sampler=dpm_solver"], "diffusion.clip=2.0", "diffusion.sampler=dpm_solver"),
        (DDPM, "diffusion.variance=large", "diffusion.sampler=ddim"),
        ([*DDPM, "diffusion.spacing=trailing"], "diffusion.offset=1", "diffusion.spacing=trailing"),
        ([*DDPM, "diffusion.schedule=cosine"], "diffusion.beta_end=0.03", "diffusion.schedule=cosine"),
        ([*DDPM, "diffusion.sampler=ancestral"], "diffusion.steps=6", "diffusion.sampler=ancestral"),
        (["diffusion=flow"], "diffusion.logit_std=0.5", "diffusion.levels=uniform"),
        (["diffusion=vp"], "diffusion.timesteps=100", "diffusion.c_noise=log_sigma"),
        (["protocol.k=5"], "protocol.share=0.1", "protocol.k=5"),
        ([], "train.drop_last=true", "train.steps=12"),
        ([], "dataset.recipe.drop_last=false", "train.steps=12"),
        ([], "train.augmentation.scale=0.3", "train.augmentation.enabled=false"),
        (["method=dtrak"], "method.grid=[1.0]", "method.damping=1000.0"),
        (
            ["method=das", "method.gradients.projection.kind=none"],
            "method.gradients.projection.dimension=64",
            "method.gradients.projection.kind=none",
        ),
        (["method=das"], "method.gradients.projection.nonzeros=2", "method.gradients.projection.kind=rademacher"),
        (["method.unlearn.stop=null"], "method.unlearn.check=after", "method.unlearn.stop=null"),
        (["method.unlearn.stop=null"], "method.null_loss.batches=2", "method.unlearn.stop=null"),
        (UNLEARN, "method.unlearn.schedule_steps=100", "method.unlearn.schedule=constant"),
        ([*UNLEARN, "objective@method.objective=siss"], "method.weight_by_size=true", "method.objective=siss"),
        ([], "extractor@health.extractor=classifier", "health.samples=0"),
        (["protocol=leave_k_out"], "attributed_groups=[0,1]", "protocol=leave_k_out"),
        (
            ["method=mucs", "protocol=lds"],
            "method.score.doubt=5",
            "method.score.allocation=all, which is decided for this run",
        ),
        (
            ["method=ensemble_b", "method.weights={mucs:1,dino:0,clip:0,condition:0}"],
            "method.members.mucs.score.doubt=5",
            "method.members.mucs.score.allocation=all, which is decided for this run",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_given_must_be_read(others: list[str], unread: str, reason: str, outputs: Path) -> None:
    base = [part for part in TINY if not part.startswith("diffusion.")]
    path = unread.split("@")[-1].replace("[", r"\[")
    with pytest.raises(UserError, match=rf"^{path}.* has no effect with {reason}: leave it out\.$"):
        tdattr.compose([*base, *others, unread, f"paths.outputs={outputs}"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["protocol.k=5"],
        ["protocol.share=0.1"],
        ["train.steps=null", "train.epochs=1", "train.coupled=false", "dataset.recipe.drop_last=false"],
        [*DDPM, "diffusion.spacing=linspace", "diffusion.ddim_noise=recomputed"],
        ["ablation=no_null_loss"],
        ["queries.where=null", "train.lora.alpha=null"],
        [*DDPM, "diffusion.sampler=dpm_solver", "diffusion.clip=null"],  # which never clips
        ["method=mucs", "method.score.doubt=5"],  # of a race, which auto is here
    ],
    ids=str,
)
def test_what_is_read_may_be_given_and_files_may_say_what_is_not(overrides: list[str], outputs: Path) -> None:
    base = [part for part in TINY if not part.startswith("train.steps") or "train.steps=null" not in overrides]
    tdattr.compose([*base, *overrides, f"paths.outputs={outputs}"])


def test_a_command_says_so_too(tmp_path: Path) -> None:
    done = command(*TINY, "protocol.k=5", "protocol.share=0.1", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: protocol.share=0.1 has no effect with protocol.k=5: leave it out."


def test_a_sweep_warns_where_another_of_its_runs_may_read_it(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    ws = tdattr.compose([*TINY, "protocol.k=5", f"paths.outputs={outputs}"])
    check_unread(ws, ["protocol.k=5", "protocol.share=0.1"], swept=True)
    assert "protocol.share=0.1 has no effect with protocol.k=5." in caplog.text
    ws = tdattr.compose([*TINY, "protocol=lds", "method=mucs", f"paths.outputs={outputs}"])
    caplog.clear()
    check_settled(ws, {"method": ws.method}, ["method.score.doubt=5", "method.score.pairs_each=3"], swept=True)
    assert [record.getMessage() for record in caplog.records] == [
        "method.score.doubt=5 has no effect with method.score.allocation=all, which is decided for this run."
    ]
