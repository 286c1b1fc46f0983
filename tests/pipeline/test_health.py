"""What is said of a first model whose images are not like its data."""

from pathlib import Path

import tdattr as library
from tdattr.networks.diffusers_checkpoint import DiffusersConfig
from tdattr.networks.stable_diffusion import StableDiffusionConfig
from tdattr.pipeline.health import warn_far
from tests.e2e.console import TINY


def test_what_can_be_done_depends_on_where_its_weights_are_from(tmp_path: Path) -> None:
    ws = library.compose([*TINY, "method=pixel", f"paths.outputs={tmp_path}"])

    def remedy() -> str:
        said = warn_far(ws, 0.5)
        assert said is not None and said.startswith("50 % of the queries are less like the training items than 99 % of")
        return said.rpartition("; ")[2]

    assert warn_far(ws, ws.health.far) is None and warn_far(ws, None) is None
    assert remedy() == "train it longer."
    base, trained = (
        StableDiffusionConfig("sd", "nowhere", "nowhere", f1, False, False, "timestep") for f1 in ("base", "trained")
    )
    ws.model = trained
    assert remedy() == "train it longer."
    ws.model = base
    assert remedy() == "have the base trained on these items first, with model.f1=trained."
    ws.model = DiffusersConfig("diffusers", "nowhere", False, "timestep")
    assert remedy() == "give model.path a model that was trained on such images."
    ws.checkpoint = tmp_path / "mine.safetensors"
    assert remedy() == "give a checkpoint that does, or train F1 here with checkpoint=null."
