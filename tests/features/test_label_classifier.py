"""Classifiers of styles and objects: what is held out from them, and what they are worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tdattr.data.groups import find_groups
from tdattr.errors import UserError
from tdattr.features import Setting
from tdattr.features.label_classifier import LabelClassifier
from tdattr.store import provenance
from tests.conftest import CLASSES


def classifier(**changes: Any) -> LabelClassifier:
    plain = LabelClassifier("objects", "test_resnet", "label", 16, 40, 16, 3e-3, 0.0, 0.0, None, 0.2)
    return replace(plain, **changes)


def test_a_share_of_every_group_is_held_out(setting: Setting) -> None:
    for share in (0.01, 0.2, 0.5, 0.99):
        learned, held_out = classifier(held_out=share).split(setting)
        for ids, kept, out in zip(find_groups(setting.data, "label").values(), learned, held_out, strict=True):
            assert sorted([*kept, *out]) == ids.tolist() and len(out) == min(
                max(1, round(share * len(ids))), len(ids) - 1
            )
    assert not np.array_equal(held_out[0], classifier().split(replace(setting, seed=4))[1][0])


def test_it_names_what_it_has_learned_and_tells_how_often_it_is_wrong_elsewhere(setting: Setting) -> None:
    judge = classifier(steps=120)
    data = setting.data
    learned, held_out = judge.split(setting)
    names = judge.load_names(setting)
    labels = data.train.items["label"]
    ids = np.concatenate(learned)
    assert names(data.train.images(ids)) == labels.iloc[ids].tolist()  # random images, learned by heart
    facts = provenance(judge.plan(setting).get())["facts"]
    assert facts["training_accuracy"] > 0.95
    state = load_file(judge.plan(setting).get().folder / "classifier.safetensors")
    model = timm.create_model("test_resnet", num_classes=CLASSES, in_chans=1).eval()
    model.load_state_dict(state)
    right = 0
    for index, members in enumerate(held_out):
        for item in members:
            image = torch.nn.functional.interpolate(
                data.train.images(np.array([item])), (16, 16), mode="bilinear", align_corners=False, antialias=True
            )
            right += int(model(image).argmax()) == index
    assert judge.accuracy(setting) == facts["held_out_accuracy"] == right / sum(map(len, held_out))


def test_pretrained_weights_are_where_it_starts(setting: Setting, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        pretrained = timm.create_model("test_vit")
    save_file(pretrained.state_dict(), tmp_path / "model.safetensors")
    judge = classifier(architecture="test_vit", weights=str(tmp_path), size=160)
    start = judge.start(setting).state_dict()
    assert start["head.weight"].shape[0] == CLASSES
    inner = "blocks.0.attn.qkv.weight"
    assert torch.equal(start[inner], pretrained.state_dict()[inner])
    assert torch.equal(judge.start(setting).state_dict()["head.weight"], start["head.weight"])
    before = judge.plan(setting).address
    save_file({**pretrained.state_dict(), inner: start[inner] + 1}, tmp_path / "other.safetensors")
    assert replace(judge, weights=str(tmp_path / "other.safetensors")).plan(setting).address != before
    assert replace(judge, name="other").plan(setting).address == before


def test_a_guess_names_the_commonest_of_what_is_held_out(setting: Setting) -> None:
    held_out = [len(ids) for ids in classifier(held_out=0.5).split(setting)[1]]
    assert classifier(held_out=0.5).guess(setting) == max(held_out) / sum(held_out) > 1 / CLASSES


def test_damaged_weights_are_found_without_the_dataset(setting: Setting, tmp_path: Path) -> None:
    blind = replace(setting, prepared=lambda: pytest.fail("the dataset was asked for"))
    path = tmp_path / "model.safetensors"
    judge = classifier(architecture="test_vit", weights=str(path))
    save_file(timm.create_model("test_vit").state_dict(), path)
    judge.check_weights(blind)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model.safetensors holds no weights of test_vit .*: fetch it again"):
        judge.check_weights(blind)
    classifier().check_weights(blind)  # has none


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": "id"}, "neither a field of the items"),
        ({"architecture": "nothing"}, "timm has no network nothing"),
        ({"weights": "nowhere"}, "model.safetensors expected in nowhere"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(changes: dict[str, Any], words: str, setting: Setting) -> None:
    with pytest.raises(UserError, match=words):
        classifier(**changes).identity(setting)
