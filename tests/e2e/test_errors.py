"""Wrong input ends at once with one clear sentence and status 1, and nothing already built is lost."""

import resource
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tdattr.errors import UserError
from tests.e2e.console import TINY, tdattr


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=typo"], "method/typo"),
        (["methd=mucs"], "methd"),
        (["train.stepss=3"], "train.stepss"),
        (["train.steps=many"], "train.steps"),
        (["seed=abc"], "seed"),
        (["protocol.k=100000"], "protocol.k"),
        (["metrics=[nothing]"], "metrics names 'nothing'"),
        (["metrics=[]"], "metrics is empty"),
        (["metrics=[sscd]"], "sscd_disc_mixup.torchscript.pt"),
        (["metrics=[lpips]"], "curl -L --create-dirs -o weights/vgg16-397923af.pth"),
        (["method=dino"], "hf download timm/vit_base_patch14_dinov2.lvd142m model.safetensors"),
        (["method=clip"], "hf download laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
        (["method=features", "extractor@method.extractor=inception"], "inception"),
        (["method=condition", "dataset.source.condition=none"], "method=condition compares conditions"),
        (["health.samples=1"], "health.samples=1"),
        (["health.far=1.5"], "health.far=1.5 must be at least 0 and at most 1"),
        (["health.samples=2", "health.extractor=null"], "extractor@health.extractor"),
        (["dataset.text=words"], "dataset.text=words must be a group"),
        (["dataset.counts=5"], "dataset.counts=5 must be a group of settings"),
        (["method=features", "method.extractor.architecture=nope"], "timm has no network nope"),
        (["method=features", "dataset.groups=null"], "by=None gives 0"),
        (["remove.groups=[nobody]"], "nobody"),
        (["dataset.groups=missing.csv"], "missing.csv"),
        (["queries.attributed=0"], "queries.attributed"),
        (["checkpoint=missing.safetensors"], "missing.safetensors"),
        (["method.unlearn.trainable=heart"], "no part 'heart'"),
        (["method=das", "method.damping=grid"], "protocol=lds"),
        (["method=das", "method.damping=large"], "method.damping: Value 'large' of type 'str'"),
        (["method=abu", "method.fisher.damping=nan"], "method.fisher.damping=nan must be at least 0."),
        (["queries.guidance=nan"], "queries.guidance=nan must be at least 0, or null."),
        (["train.weight_decay=-5"], "train.weight_decay=-5.0 must be at least 0."),
        (["dataset.recipe.learning_rate=nan"], "dataset.recipe.learning_rate=nan must be above 0, or auto."),
        (["seed=true"], "seed: Value 'True' of type 'bool'"),
        (["seed=-1"], "seed=-1 must be at least 0."),
        (["checkpoint=true"], "checkpoint=True must be a text"),
        (["dataset.groups=5"], "dataset.groups=5 is neither a field"),
        (["dataset.groups=nan"], "dataset.groups=nan must be a text"),
        (["measures.ssim.sigma=nan"], "measures.ssim.sigma=nan must be above 0."),
        (["protocol=lds", "protocol.share=nan"], "protocol.share=nan must be above 0 and below 1."),
        (["queries.explained=controls"], "protocol=lds"),
        (["queries.explained=both"], "queries.explained=both"),
        (["protocol=lds", "protocol.share=0.001"], "protocol.share=0.001"),
        (["protocol=lds", "protocol.subsets=1"], "protocol.subsets=1 must be at least 3"),
        (["method=ensemble_a"], "hf download"),
        (["method=ensemble_d", "method.weights={condition:0,dino:0,clip:0}"], "method.weights must hold one above 0"),
        (["+method.weights={mucs:1}", "method=ensemble_d"], "none of method.members"),
        (["ablation=augment", "train.augmentation.enabled=false"], "train.augmentation.enabled=true"),
        (["ablation=typo"], "ablation/typo"),
        (["dataset=cifar10"], "dataset.source.root"),
        (["dataset=image_folder"], "dataset.source.root"),
    ],
)
def test_one_sentence_and_no_traceback(overrides, words, tmp_path):
    base = [argument for argument in TINY if argument.split("=")[0] not in {o.split("=")[0] for o in overrides}]
    if any(override.startswith("dataset=") for override in overrides):
        base = []
    done = tdattr(*base, *overrides, folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1 and "overrides:" not in done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/artifacts/pretrain/*"))
    assert not list(tmp_path.glob("outputs/runs/*/config.yaml"))  # it is no run that a report could miss something of


def test_a_refused_command_leaves_the_config_of_the_run_in_its_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 7")
    refused = ["method=mucs", "method.unlearn.trainable=nonsense", "hydra.run.dir=run"]
    done = tdattr(*TINY, *refused, folder=tmp_path, check=False)
    assert "no part 'nonsense'" in done.stderr  # which is known once the network is
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 7"


def test_hydra_full_error_brings_the_traceback_back(tmp_path):
    with pytest.raises(UserError, match="seed: Value 'abc'"):  # which Python prints with its traceback
        tdattr(*TINY, "seed=abc", folder=tmp_path, check=False, HYDRA_FULL_ERROR="1")


def test_a_checkpoint_of_another_architecture(tmp_path):
    save_file({"other.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    done = tdattr(*TINY, "checkpoint=other.safetensors", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "another architecture" in done.stderr
    (tmp_path / "pickled.safetensors").write_bytes(b"\x80\x04not safetensors")
    done = tdattr(*TINY, "checkpoint=pickled.safetensors", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "not a readable safetensors file" in done.stderr


def test_an_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = tdattr(*TINY, "paths.outputs=file/outputs", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "paths.outputs" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_without_runs(tmp_path):
    done = tdattr(folder=tmp_path, command="report", check=False)
    assert done.returncode == 1
    assert "no finished run" in done.stderr


def test_the_cli_answers_without_importing_torch():
    code = (
        "import sys; sys.argv = ['tdattr', '--cfg', 'job', 'dataset=cifar10', 'model=dit_b']\n"
        "from tdattr.cli import main\n"
        "try: main()\nfinally: assert not {'torch', 'lightning', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "name: dit_b" in done.stdout


@pytest.mark.parametrize("limit", [100, 2000, 50_000])  # bytes: Hydra's files, the run's, artifacts
def test_a_full_disk_is_one_sentence_wherever_it_is_noticed(limit, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        ended = tdattr(*TINY, "method=pixel", folder=tmp_path, check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.returncode == 1
    sentence = ended.stderr.strip().splitlines()[-1]
    assert sentence.startswith("error: File too large in ") and "resumes" in sentence and "paths.outputs=…" in sentence
    assert "Traceback" not in ended.stderr
