"""A teacher is an ordinary training of F1's items, told their groups: what it depends on, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

import tdattr
from tdattr.errors import UserError
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.counterfactuals import WorkspaceCounterfactuals
from tdattr.pipeline.teacher import find_teachers, open_teacher
from tdattr.pipeline.train import build_network, train
from tdattr.pipeline.workspace import Workspace
from tdattr.store import provenance
from tdattr.training.teacher import Teacher, group_conditions
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow  # each composes a config
ESD = ["method=guda_u", "objective@method.objective=esd", "protocol=logo", "elbo.stride=300"]
OTHER = [argument for argument in TINY if not argument.startswith("model.")]
TEACHER = "method.objective.teacher"


def workspace(folder: Path, *overrides: str, tiny: list[str] = TINY) -> Workspace:
    return tdattr.compose([*tiny, *ESD, f"paths.outputs={folder}", *overrides])


def teacher_of(ws: Workspace) -> Teacher:
    ((name, node),) = find_teachers(ws.method)
    assert name == "objective.teacher"
    return node


def addresses(ws: Workspace) -> dict[str, str]:
    teacher = train(open_teacher(ws, teacher_of(ws))).address
    return {"train": train(ws).address, "teacher": teacher, "attribute": attribute(ws).address}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("method.objective.weight=0.1", {"attribute"}),
        ("method.unlearn.steps=3", {"attribute"}),
        ("trainer.scoring_batch=7", set()),
        (f"{TEACHER}.train.epoch_steps=3", set()),
        (f"{TEACHER}.train.steps=13", {"teacher", "attribute"}),
        ("model@method.objective.teacher.model=unet_tiny", {"teacher", "attribute"}),
        ("train.steps=13", {"train", "teacher", "attribute"}),
        ("seed=2", {"train", "teacher", "attribute"}),
        ("remove.ids=[3]", {"train", "teacher", "attribute"}),
        ("remove.groups=[3]", {"train", "teacher", "attribute"}),
        ("dataset.groups=halves.csv", {"teacher", "attribute"}),
        (f"{TEACHER}=null", {"teacher", "attribute"}),
    ],
)
def test_what_a_teacher_depends_on_is_in_its_address(
    override: str, changed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{index},{index % 2}" for index in range(1621))
    Path("halves.csv").write_text(f"id,group\n{rows}\n")
    before, ws = addresses(workspace(tmp_path)), workspace(tmp_path, override)
    if override.endswith("=null"):
        assert not list(find_teachers(ws.method))
        after = {"train": train(ws).address, "teacher": "", "attribute": attribute(ws).address}
    else:
        after = addresses(ws)
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_items_are_told_their_groups_as_one_hot_vectors(tmp_path: Path) -> None:
    ws = workspace(tmp_path, "dataset.source.condition=none", "remove.ids=[3,4]")
    data = open_teacher(ws, teacher_of(ws)).data
    labels = ws.data.train.items["label"].astype(int).to_numpy()
    told = data.train.condition(np.arange(1621))
    assert told is not None and ws.data.train.conditions is None
    seen = np.setdiff1d(np.arange(1621), [3, 4])
    assert torch.equal(told[seen], torch.eye(10)[labels[seen]])
    assert not told[[3, 4]].any() and np.flatnonzero(data.train.untold).tolist() == [3, 4]
    assert data.test.untold is not None and data.test.untold.all() and len(data.test.untold) == 176
    overlapping = group_conditions({"a": np.array([0, 2]), "b": np.array([2, 3])}, 5)
    assert overlapping.tolist() == [[1, 0], [0, 0], [1, 1], [0, 1], [0, 0]]


def test_a_teacher_is_trained_or_loaded(tmp_path: Path) -> None:
    """On unconditional items: it is told groups, F1 nothing."""
    ws = workspace(tmp_path, "dataset.source.condition=none", "train.steps=2", f"{TEACHER}.train.steps=3")
    models, used = WorkspaceCounterfactuals(ws, ws.method.needs), list[str]()
    trained = models.teacher(teacher_of(ws))
    network = trained.load()
    assert network.conditional and not network.training and not build_network(ws).conditional
    (artifact,) = models.used
    assert artifact.stage == "pretrain" and artifact.address == trained.address
    told = provenance(artifact)["config"]
    assert told["train"]["steps"] == 3 and told["seed"] == ws.seed
    assert not any(parameter.requires_grad for parameter in network.parameters()) and used == []
    path = tmp_path / "teacher.safetensors"
    save_file({name: value + 1 for name, value in network.state_dict().items()}, path)
    brought = workspace(tmp_path, "dataset.source.condition=none", f"{TEACHER}.checkpoint={path}")
    loaded = WorkspaceCounterfactuals(brought, brought.method.needs).teacher(teacher_of(brought)).load()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, network.state_dict()[name] + 1)
    before = attribute(brought).address
    save_file({name: value + 2 for name, value in network.state_dict().items()}, path)
    assert (
        attribute(workspace(tmp_path, "dataset.source.condition=none", f"{TEACHER}.checkpoint={path}")).address
        != before
    )


@pytest.mark.parametrize(
    ("tiny", "overrides", "words"),
    [
        (TINY, ["model@method.objective.teacher.model=unet_diffusers_tiny"], "is told timesteps: use diffusion=ddpm"),
        (OTHER, ["model=unet_diffusers_tiny", "diffusion=ddpm"], "but its network takes no condition: choose another"),
        (
            OTHER,
            ["model=unet_diffusers_tiny", "diffusion=ddpm", "model@method.objective.teacher.model=dit_tiny"],
            "model@method.objective.teacher.model must be a network that is told timesteps, as the run's",
        ),
        (TINY, [f"{TEACHER}.train.condition_dropout=0"], "leaves the null condition untrained: set it above 0"),
        (TINY, [f"{TEACHER}.train.augmentation.enabled=true"], "train.augmentation needs a network with the label"),
        (
            TINY,
            [f"{TEACHER}.checkpoint=none.safetensors"],
            "method.objective.teacher.checkpoint=none.safetensors is not",
        ),
        (TINY, [f"{TEACHER}.checkpoint=f1.safetensors"], "f1.safetensors was made by another architecture"),
        (
            TINY,
            [f"{TEACHER}.train.selection=best", "dataset.source.held_out=0"],
            "method.objective.teacher.train.selection=best needs a test split",
        ),
    ],
)
def test_what_no_teacher_can_be_is_said_before_any_training(
    tiny: list[str], overrides: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "checkpoint=f1" in overrides[0]:
        ws = workspace(tmp_path, "dataset.source.condition=none")
        save_file(build_network(ws).state_dict(), "f1.safetensors")  # of a network that is told nothing
    with pytest.raises(UserError, match=words):
        workspace(tmp_path, *overrides, tiny=tiny)


def test_a_teacher_of_other_networks_than_f1s(tmp_path: Path) -> None:
    """As GUDA has it: F1 is an unconditional U-Net of diffusers, the teacher its conditional one."""
    ws = workspace(
        tmp_path,
        *["model=unet_diffusers_tiny", "diffusion=ddpm", "dataset.source.condition=none"],
        "model@method.objective.teacher.model=unet_diffusers_conditional_tiny",
        tiny=OTHER,
    )
    teacher = build_network(open_teacher(ws, teacher_of(ws)))
    assert teacher.conditional and not build_network(ws).conditional


def test_a_folder_of_diffusers_is_a_teacher(tmp_path: Path) -> None:
    """With a label for each group and one for none."""
    sizes = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4}
    sizes |= {"block_out_channels": (4, 8), "attention_head_dim": 4, "cross_attention_dim": 8}
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    chosen = ["model=unet_diffusers_tiny", "diffusion=ddpm", "model@method.objective.teacher.model=diffusers"]

    def brought(labels: int) -> Workspace:
        classes = {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": labels}
        UNet2DConditionModel(**sizes, **blocks, **classes).save_pretrained(tmp_path / str(labels))
        path = f"{TEACHER}.model.path={tmp_path / str(labels)}"
        return workspace(tmp_path, *chosen, path, "dataset.source.condition=none", tiny=OTHER)

    ws = brought(11)
    trained = WorkspaceCounterfactuals(ws, ws.method.needs).teacher(teacher_of(ws))
    weights = load_file(tmp_path / "11" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(trained.load().state_dict()["unet.conv_in.weight"], weights["conv_in.weight"])
    assert trained.address == train(open_teacher(ws, teacher_of(ws))).address
    with pytest.raises(UserError, match=r"has 7 labels but the dataset 10 conditions"):
        brought(7)
