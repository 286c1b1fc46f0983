"""Artifacts that are built at once: which, what each of them is, and what becomes of them where one fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tdattr.costs import Cost, Work
from tdattr.joint import Built, Joint
from tdattr.locks import acquire
from tdattr.store import Plan, Store, provenance, share_out
from tests.plans import plan, refuse


@dataclass
class Counting(Joint):
    """Writes its number; ``built``: the numbers that were built at once."""

    number: int
    built: list[list[int]]
    at_once: int = 3
    sort: str | None = "same"
    failing: Sequence[int] = ()

    @property
    def kind(self) -> str | None:
        return self.sort

    def most(self, wanted: int) -> int:
        return min(wanted, self.at_once)

    def build(self, members: "Sequence[Counting]", folders: Sequence[Path]) -> list[Built]:
        self.built.append([member.number for member in members])
        results: list[Built] = []
        for member, folder in zip(members, folders, strict=True):
            if member.number in self.failing:
                results.append(ValueError(f"{member.number} fails"))
                continue
            with (folder / "result.txt").open("a") as file:
                file.write(str(member.number))
            results.append({"number": member.number})
        return results


def make_plans(
    store: Store, count: int, built: list[list[int]], build: Callable[..., Any] = refuse, **more: Any
) -> list[Plan]:
    """So many that are built at once, and by ``build`` alone."""
    cost = Cost(Work(trained=100))
    return [
        store.plan(
            "train", 1, {"number": n}, {}, build, cost=lambda: cost, like="size"
        ).joining(Counting(n, built, **more))
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "cpu")


def test_they_are_artifacts_as_if_each_had_been_built_alone(store: Store) -> None:
    built: list[list[int]] = []
    plans = make_plans(store, 5, built)
    artifacts = share_out(plans)
    assert built == [[0, 1, 2], [3, 4]]
    assert artifacts == [plan.artifact for plan in plans] == share_out(make_plans(store, 5, built))
    assert len(built) == 2
    assert [(artifact.folder / "result.txt").read_text() for artifact in artifacts] == list("01234")
    content = provenance(artifacts[3])
    assert content["facts"] == {"number": 3} and content["config"] == {"number": 3}
    assert content["work"] == {"like": "size, together", "units": 300}  # its seconds say nothing of one that is alone
    assert not list((store.root / "train").glob(".*"))  # neither leases nor folders
    assert store.built == [artifact.name for artifact in artifacts]


def test_each_is_timed_by_its_share_without_what_it_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Slow(Counting):
        def build(self, members: Sequence[Counting], folders: Sequence[Path]) -> list[Built]:
            def wait(folder: Path) -> None:
                now[0] += 100

            now[0] += 6
            plan(store, wait, config={"asked": True}).get()
            return super().build(members, folders)

    built: list[list[int]] = []
    plans = [one.joining(Slow(n, built)) for n, one in enumerate(make_plans(store, 3, built))]
    contents = [provenance(artifact) for artifact in share_out(plans)]
    assert [content["seconds"] for content in contents] == [2.0, 2.0, 2.0]
    asked = plan(store, config={"asked": True}).name
    assert [content["uses"] for content in contents] == [[asked]] * 3
    assert store.nested == [106.0] and list(store.asked[0]) == [plan.name for plan in plans]


def test_only_those_that_are_missing_alike_and_free_are_built(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[list[int]] = []
    plans = make_plans(store, 6, built, lambda folder: {"alone": True}, at_once=10)
    share_out(plans[:2])
    plans[2] = plans[2].joining(Counting(2, built, sort="other"))
    plans.append(plan(store, config={"alone": True}))  # nothing builds it together with others
    lease = acquire(plans[3].lease, None)  # as another job does
    assert lease is not None
    monkeypatch.setattr(Store, "rest", lambda *_: lease.release())
    share_out(plans)
    assert built == [[0, 1], [4, 5]]
    assert [provenance(plans[n].artifact)["facts"] for n in (2, 3)] == [{"alone": True}] * 2


def test_one_that_fails_costs_the_others_nothing(store: Store) -> None:
    built: list[list[int]] = []
    plans = make_plans(store, 3, built, failing=[1])
    with pytest.raises(ValueError, match="1 fails"):
        share_out(plans)
    assert [plan.finished for plan in plans] == [True, False, True]
    assert share_out(make_plans(store, 3, built, lambda folder: {"again": True}))[1] == plans[1].artifact
    assert provenance(plans[1].artifact)["facts"] == {"again": True} and built == [[0, 1, 2]]


def test_what_was_left_is_resumed_and_what_was_sealed_is_not_built_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[list[int]] = []
    plans = make_plans(store, 3, built)
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "write_or_find", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))  # after the seal
        with pytest.raises(KeyboardInterrupt):
            share_out(plans)
    assert not any(plan.finished for plan in plans)
    share_out(plans)
    assert all(plan.finished for plan in plans) and built == [[0, 1, 2]]


@pytest.mark.parametrize("sort", ["same", None])  # None: built alone
def test_what_goes_together_is_asked_for_once_also_by_one_who_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch, sort: str | None
) -> None:
    """Not for every pair of artifacts in every pass."""
    count, passes, asked = 30, 3, {"kind": 0, "finished": 0}

    class Asked(Counting):
        @property
        def kind(self) -> Any:
            asked["kind"] += 1
            return sort

    plans = [one.joining(Asked(n, [])) for n, one in enumerate(make_plans(store, count, []))]
    looked = Plan.finished.fget  # type: ignore[attr-defined]

    def look(plan: Plan) -> bool:
        asked["finished"] += 1
        return bool(looked(plan))

    monkeypatch.setattr(Plan, "finished", property(look))
    plans[0].lease.parent.mkdir()
    leases = [acquire(one.lease, None) for one in plans]  # another job builds all of them
    rests = iter(range(passes - 1))

    def rest(*_: Any) -> None:
        if next(rests, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "rest", rest)
    with pytest.raises(KeyboardInterrupt):
        share_out(plans)
    for lease in leases:
        assert lease is not None
        lease.release()
    assert asked["kind"] == count
    assert asked["finished"] <= (2 + (2 * passes if sort else 0)) * count
