"""The verdict on several dampings."""

from tdattr.protocols import Verdict
from tdattr.protocols.damping_grid import judge_best
from tdattr.scores import DAMPING_UNIT


def test_the_best_mean_is_judged_alone_and_every_one_is_listed() -> None:
    judged = []

    def judge(index: int) -> Verdict:
        judged.append(index)
        return Verdict({"own": index}, [{"query": 0}], "title", lines=["a table", "LDS"], warnings=["careful"])

    found = [{"mean": -0.25, "low": -0.5}, {"mean": 0.5, "low": 0.25}, {"mean": 0.5, "low": 0.0}]
    verdict = judge_best([0.1, 1.0, 10.0], "LDS", found, judge)
    assert judged == [1]
    grid = [{"damping": 0.1, **found[0]}, {"damping": 1.0, **found[1]}, {"damping": 10.0, **found[2]}]
    assert verdict.summary == {"own": 1, "grid": grid, "damping": 1.0, "damping_unit": DAMPING_UNIT}
    assert verdict.lines[1:] == [
        "damping 0.1: LDS -0.250",
        "damping 1: LDS +0.500",
        "damping 10: LDS +0.500",
        "a table",
        "best damping 1: LDS",
    ]
    assert verdict.title == "title" and verdict.warnings == ["careful"] and verdict.table == [{"query": 0}]
