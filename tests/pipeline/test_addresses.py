"""What is in an address, and what is not: a stage whose results could differ has another one."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.torch import save_file

import tdattr
from tdattr.methods.guda import GUDA
from tdattr.pipeline.attribute import Attribution, attribute, outline_context, settle
from tdattr.pipeline.evaluate import evaluate
from tdattr.pipeline.generate import generate
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.train import build_network, describe_training, train
from tdattr.pipeline.workspace import Workspace
from tdattr.training.weights import make_metadata
from tests.e2e.console import TINY
from tests.e2e.tiny_text import SMALL, TOKENS
from tests.features.words import NODE, SAME
from tests.networks.tiny_pipeline import save_pipeline

pytestmark = pytest.mark.slow  # each composes a config


def workspace(folder: Path, *overrides: str) -> Workspace:
    return tdattr.compose([*TINY, "method=pixel", f"paths.outputs={folder}", *overrides])


def addresses(ws: Workspace) -> dict[str, str]:
    f1 = train(ws)
    return {
        "train": f1.address,
        "generate": generate(ws, f1).address,
        "attribute": attribute(ws).address,
        "evaluate": evaluate(ws).address,
    }


@pytest.mark.parametrize(
    "override",
    [
        "trainer.scoring_batch=7",
        "trainer.workers=1",
        "trainer.threads=2",
        "queries.batch_size=2",
        "logger=none",
        "method.name=another",
    ],
)
def test_what_changes_no_result_is_in_no_address(override: str, tmp_path: Path) -> None:
    assert addresses(workspace(tmp_path, override)) == addresses(workspace(tmp_path))


def test_a_setting_that_came_later_is_in_no_address_where_it_changes_nothing(tmp_path: Path) -> None:
    names = [describe_training(workspace(tmp_path, f"train.epsilon={value}"))["train"] for value in (1e-8, 1e-4)]
    assert "epsilon" not in names[0] and names[1]["epsilon"] == 1e-4


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("method.zero=0.5", {"attribute", "evaluate"}),
        ("train.epsilon=1e-4", {"train", "generate", "attribute", "evaluate"}),
        ("trainer.scoring_precision=bfloat16", set()),  # of a method that looks at pixels
        ("protocol.k=3", {"evaluate"}),
        ("metrics=[mse]", {"evaluate"}),
        ("weights=raw", {"generate", "attribute", "evaluate"}),
        ("diffusion.steps=5", {"generate", "attribute", "evaluate"}),
        ("train.steps=13", {"train", "generate", "attribute", "evaluate"}),
        ("queries.attributed=2", {"generate", "attribute", "evaluate"}),
        ("train.keep=ema", {"train", "generate", "attribute", "evaluate"}),  # another artifact
        ("seed=2", {"train", "generate", "attribute", "evaluate"}),
        ("remove.ids=[3]", {"train", "generate", "attribute", "evaluate"}),
        ("train.coupled=false", {"evaluate"}),  # F1 is the same; what is retrained is not
    ],
)
def test_what_changes_a_result_is_in_its_address(override: str, changed: set[str], tmp_path: Path) -> None:
    before, after = addresses(workspace(tmp_path)), addresses(workspace(tmp_path, override))
    assert {stage for stage in before if before[stage] != after[stage]} == changed


@pytest.mark.parametrize(
    ("method", "override"),
    [
        *((method, "trainer.scoring_precision=bfloat16") for method in ("mucs", "abu", "das")),
        ("mucs", "method.score.allocation=all"),  # where auto is a race
        ("mucs method.score.allocation=racing", "method.score.doubt=3"),
        ("mucs method.score.allocation=racing", "protocol.k=3"),
        ("mucs method.score.allocation=importance", "method.score.pairs_each=3"),
    ],
)
def test_how_losses_are_evaluated_is_in_the_address_of_scores(method: str, override: str, tmp_path: Path) -> None:
    chosen = f"method={method}".split()
    before, after = (addresses(workspace(tmp_path, *chosen, *change)) for change in ([], [override]))
    assert {stage for stage in before if before[stage] != after[stage]} == {"attribute", "evaluate"}


@pytest.mark.parametrize(
    ("protocol", "settled"), [("leave_k_out", "racing"), ("lds", "all")], ids=["the highest", "every score"]
)
def test_what_auto_becomes_is_in_the_address(protocol: str, settled: str, tmp_path: Path) -> None:
    many = ["method=mucs", f"protocol={protocol}", "dataset=mixtures", "dataset.source.items=1000"]
    found = {
        allocation: attribute(workspace(tmp_path, *many, f"method.score.allocation={allocation}")).address
        for allocation in ("auto", "all", settled)
    }
    assert found["auto"] == found[settled]
    assert (found["auto"] == found["all"]) == (settled == "all")


@pytest.mark.parametrize(
    ("choice", "unread"),
    [
        ("protocol=lds", "method.score.doubt=5"),  # where auto is all
        ("method.score.allocation=all", "method.score.doubt=5"),
        ("method.score.allocation=importance", "method.score.doubt=5"),
        ("method.score.allocation=racing", "method.score.pairs_each=3"),
        ("method=ensemble_b method.weights={mucs:1,dino:0,clip:0,condition:0}", "method.members.mucs.score.doubt=5"),
    ],
)
def test_what_the_allocation_does_not_read_is_in_no_address(choice: str, unread: str, tmp_path: Path) -> None:
    ws, another = (workspace(tmp_path, "method=mucs", *choice.split()) for _ in range(2))
    key, value = unread.split("=")
    OmegaConf.update(another.cfg, key, float(value) if "doubt" in key else int(value))  # as by a file
    another = open_workspace(another.cfg)
    assert ws.method != another.method
    assert Attribution(ws, settle(ws, ws.method)).config == Attribution(another, settle(another, another.method)).config


def test_f1_has_losses_in_every_precision(tmp_path: Path) -> None:
    blocks = []
    for precision in ("float32", "bfloat16"):
        ws = workspace(tmp_path, "method=mucs", f"trainer.scoring_precision={precision}")
        work = ws.method.work(outline_context(ws, ws.method))
        assert work is not None
        blocks.append({plan.address for plan in work.needs if plan.stage == "losses"})
    assert blocks[0] and not blocks[0] & blocks[1]


def test_the_number_of_ranks_matters_where_there_is_dropout(tmp_path: Path) -> None:
    two = ["trainer.accelerator=cpu", "trainer.devices=2"]
    assert train(workspace(tmp_path, *two)).address == train(workspace(tmp_path)).address
    dropout = "model.dropout=0.1"
    shared = train(workspace(tmp_path, dropout, *two)).address
    assert shared != train(workspace(tmp_path, dropout)).address
    parts = "train.accumulate=2"  # likewise, and with the same masks
    assert train(workspace(tmp_path, parts)).address == train(workspace(tmp_path)).address
    assert train(workspace(tmp_path, dropout, parts)).address == shared


STYLES = ["dataset=glyph_digits", "protocol=logo", "method=guda_c", "method.unlearn.steps=2", "method.unlearn.kept=[]"]
FORM = "method.objective.prompt='{object} in a {descriptors} typeface'"


def prompted(folder: Path, text: str, *overrides: str) -> Workspace:
    tiny = [setting for setting in TINY if not setting.startswith("dataset")]
    return tdattr.compose([*tiny, *STYLES, f"dataset.text={text}", f"paths.outputs={folder}", *overrides])


def unlearned(ws: Workspace) -> str:
    assert isinstance(ws.method, GUDA)
    return ws.method.unlearned(outline_context(ws, ws.method))[0].plan.address


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (["objective@method.objective=uniform", FORM], {"attribute", "evaluate", "unlearn"}),
        (["objective@method.objective=style_removed", FORM], {"attribute", "evaluate", "unlearn"}),
        (["objective@method.objective=retrack"], set()),  # it is told of no other prompt
        (["objective@method.objective=retrack", "queries.prompt=a bold 4"], {"generate", "attribute", "evaluate"}),
    ],
)
def test_what_encodes_other_prompts_is_in_their_address(
    overrides: list[str], changed: set[str], tmp_path: Path
) -> None:
    """Another encoder that gives the items the same conditions: F1 is the same."""
    before, after = (
        addresses(ws) | {"unlearn": unlearned(ws)}
        for ws in (prompted(tmp_path, text, *overrides) for text in (NODE, SAME))
    )
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_what_is_assumed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        workspace(tmp_path, "dataset.source.held_out=0")
    assert "The dataset has no test split: queries take their conditions from training items." in caplog.messages
    caplog.clear()
    with caplog.at_level("WARNING"):
        workspace(tmp_path, "dataset.source.condition=none", "queries.attributed=200", "protocol.k=1")
    assert any("202 queries take their conditions from 176 items of the test split" in each for each in caplog.messages)
    assert any("queries.guidance=2.0 has no effect: the model is unconditional" in each for each in caplog.messages)


TARGETS = "train.lora.targets=[to_q,to_v,to_out.0,to_k]"  # not in the order of the config


def test_a_lora_has_one_address_however_it_is_said(tmp_path: Path) -> None:
    """Alpha and layers that are left to the default, said, or adopted from a file that was stored here."""
    save_pipeline(tmp_path / "sd")

    def adapted(*overrides: str) -> Workspace:
        folders = [f"model.weights={tmp_path}/sd", f"paths.outputs={tmp_path}"]
        return tdattr.compose(["method=random", *SMALL, TOKENS, *folders, *overrides])

    def addresses(*overrides: str) -> tuple[str, str, str]:
        ws = adapted(*overrides)
        return train(ws, without=np.array([0, 1])).address, ws.size, train(ws).address

    rank, own = "train.lora.rank=2", tmp_path / "own.safetensors"
    ws = adapted(rank)
    save_file(build_network(ws).weights(), own, metadata=make_metadata(ws.diffusion, ws.train.lora))
    plain = addresses(rank)
    assert addresses(rank, "train.lora.alpha=2", TARGETS) == plain
    imported = addresses(f"checkpoint={own}")
    assert imported[:2] == plain[:2] and imported == addresses(f"checkpoint={own}", rank, TARGETS)
    for other in ("train.lora.alpha=1", "train.lora.targets=[to_k]"):
        assert addresses(rank, other)[0] != plain[0]
