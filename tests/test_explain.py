"""``tdattr-explain``: what is asked, said in overrides; and a page at the end."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from safetensors.torch import save_file

from tdattr.errors import UserError
from tdattr.explain import main, read_request
from tdattr.pipeline.plausibility import say_uncompared


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("made.png", "a b, c.png", "photos/x/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TDATTR_OUTPUTS", raising=False)
    return tmp_path


def test_a_request_is_a_command(folder: Path) -> None:
    request = read_request(["made.png", "a b, c.png", "--data", "photos", "--groups", "group", "seed=3"])
    common = [
        "dataset=image_folder",
        "dataset.source.root=photos",
        f'queries.images=["{folder}/made.png","{folder}/a b, c.png"]',
        "protocol=none",
        'dataset.groups="group"',
    ]
    das = ["method=das", "method.gradients.draws=10"]  # not a setting of pixel
    assert request.commands == [[*common, "method=pixel", "seed=3"], [*common, *das, "seed=3"]]
    assert read_request(["made.png", "--data", "photos", "--method", "das,trak"]).commands == [
        [*common[:2], f'queries.images=["{folder}/made.png"]', "protocol=none", "method=das,trak"]
    ]
    assert request.out == Path("outputs/explained")
    (checked,) = read_request(["made.png", "dataset=digits", "--check", "--method", "das", "--condition", "7"]).commands
    assert "protocol=removal_loss" in checked and "method=das" in checked and 'queries.condition="7"' in checked


def test_a_model_that_was_trained_elsewhere_may_have_seen_all_pictures(folder: Path) -> None:
    UNet2DModel(8, 1, 1, block_out_channels=(4,), norm_num_groups=2, down_block_types=("DownBlock2D",),
                up_block_types=("UpBlock2D",)).save_pretrained("model")  # fmt: skip
    asked = ["made.png", "--data", "photos"]
    brought = read_request([*asked, "--model", "model", "dataset.source.held_out=5"]).commands[0]
    assert brought.index("dataset.source.held_out=0") < brought.index("dataset.source.held_out=5")
    assert not any("held_out" in override for override in read_request(asked).commands[0])  # it is trained here
    save_file({"weight": torch.zeros(1)}, "ema.safetensors")
    trained = read_request([*asked, "--model", "ema.safetensors"]).commands[0]
    assert not any("held_out" in override for override in trained)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.png", "--data", "photos"], "nowhere.png does not exist"),
        (["made.png"], "Say which pictures the model was trained on: --data FOLDER, or dataset=NAME."),
        (["seed=3", "--data", "photos"], "Name at least one picture"),
        (["made.png", "--data", "nowhere"], "--data=nowhere does not exist"),
        (["made.png", "--data", "photos", "--model", "nowhere"], "--model=nowhere does not exist"),
    ],
)
def test_what_is_missing_is_said(folder: Path, arguments: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_request(arguments)


@pytest.mark.slow
def test_a_method_that_fails_takes_no_page_from_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what leaves no verdict has no page, which is no error."""
    small = ["model.blocks=1", "model.width=16", "model.heads=1", "train.steps=6", "train.epoch_steps=3"]
    digits = ["dataset=digits", *small, "train.batch_size=8", "trainer.threads=1", "--condition", "3", "--out", "page"]
    monkeypatch.setattr(sys, "argv", ["tdattr-explain", "made.png", *digits, "--method", "journey_trak,pixel"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1 and (folder / "page" / "index.html").is_file()
    assert "journey_trak looks at how a query was generated" in capsys.readouterr().err
    for last in ("plan=true", "until=attribute"):
        monkeypatch.setattr(
            sys, "argv", ["tdattr-explain", "made.png", *digits, "--method", "pixel", "--out", "no", last]
        )
        main()
    assert not (folder / "no").exists()


@pytest.mark.slow
def test_pictures_are_explained_on_a_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["model.blocks=1", "model.width=16", "model.heads=1", "train.steps=6", "train.epoch_steps=3"]
    digits = ["dataset=digits", *small, "train.batch_size=8", "trainer.threads=1"]
    alone = ["dataset.source.held_out=0", "--condition", "3"]
    arguments = ["made.png", *digits, *alone, "--method", "random,pixel", "--out", "page"]
    monkeypatch.setattr(sys, "argv", ["tdattr-explain", *arguments])
    say_uncompared.cache_clear()  # no other test has said it
    main()
    assert len(list((folder / "outputs" / "runs").glob("*/sweep.json"))) == 1
    printed = capsys.readouterr()
    said = printed.out
    assert said.startswith("The same as: tdattr -m 'queries.images=")
    assert said.count("What is named first") == 1 and "made.png" in said
    assert said.count("queries.images=") == 1 and "Launching" not in said + printed.err
    assert (said + printed.err).count("is not judged by their losses") == 1  # of two jobs, before and after each
    assert (folder / "page" / "index.html").is_file()
