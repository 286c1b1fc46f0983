"""Ensembles from the command line: they use the scores that are there, and a member's settings are its own."""

import json

from tests.e2e.console import MUCS, TINY, tdattr

MEMBERS = [argument.replace("method.", "method.members.mucs.") for argument in MUCS]
ENSEMBLE = ["method=ensemble_b", "method.weights.clip=0", "method@method.members.dino=pixel"]


def test_an_ensemble_computes_nothing_that_is_stored(tmp_path):
    tdattr("method=mucs", *TINY, *MUCS, folder=tmp_path)
    done = tdattr(*ENSEMBLE, *TINY, *MEMBERS, folder=tmp_path)
    assert "Attributing (mucs)" not in done.stderr
    assert "Attributing (pixel)" in done.stderr
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/**/summary.json")]
    seconds = {summary["method"]: summary["seconds_per_query"] for summary in summaries}
    assert seconds["ensemble_b"] > seconds["mucs"]
    other = [*MEMBERS, "method.members.mucs.unlearn.weight=0.3"]
    assert "Attributing (mucs)" in tdattr(*ENSEMBLE, *TINY, *other, folder=tmp_path).stderr


def test_what_there_is_to_say_of_a_member_is_said_of_the_ensemble(tmp_path):
    cut = [each for each in MEMBERS if "max_steps" not in each]
    done = tdattr(*ENSEMBLE, *TINY, *cut, "method.members.mucs.unlearn.max_steps=1", folder=tmp_path)
    said = "mucs: The unlearning of 100% of the queries ended at method.members.mucs.unlearn.max_steps"
    assert said in done.stderr
    (summary,) = (json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/**/summary.json"))
    assert [warning for warning in summary["warnings"] if warning.startswith(said)]
    assert [warning for warning in summary["method_warnings"] if warning.startswith(said)]
