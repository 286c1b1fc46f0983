"""What all queries of a method share."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tdattr.methods import Scored
from tdattr.methods.random import Random
from tdattr.pipeline.attribute import Setup
from tdattr.store import Plan, Store, provenance


class Asking(Setup):
    """A set-up that asks for one artifact."""

    def __init__(self, store: Store, wanted: Plan) -> None:
        where: Any = SimpleNamespace(store=store)
        self.ws, self.method, self.wanted = where, Random("random"), wanted
        self.scorer, self.asked = None, {}

    def start(self) -> Any:
        self.wanted.get()
        return lambda query: Scored(torch.zeros(1))


def test_every_query_names_what_the_set_up_asked_for(tmp_path: Path) -> None:
    """Else nothing would say that a run uses it which began with some queries done, and `prune` would delete it."""
    store = Store(tmp_path, "cpu")
    shared = store.plan("features", 1, {}, {}, lambda folder: None)
    setup = Asking(store, shared)

    def make(folder: Path) -> None:
        setup.run()

    queries = [store.plan("query_scores", 1, {"query": query}, {}, make) for query in range(2)]
    for plan in queries:
        assert provenance(plan.get())["uses"] == [shared.name]
    outer = store.plan("attribute", 1, {}, {}, lambda folder, prepared: None, lambda: Asking(store, shared).run())
    assert provenance(outer.get())["uses"] == [shared.name]
