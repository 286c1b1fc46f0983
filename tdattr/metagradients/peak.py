"""How many bytes a computation holds at most, found by going through it on the meta device."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(TorchDispatchMode):
    """While it is active: the ``bytes`` of what operations have made and that is still there, and their ``peak``. What
    several tensors look at is counted once, and what was there before not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count what an operation makes."""
        given = {id(storage) for storage in storages((args, kwargs))}
        made = operation(*args, **(kwargs or {}))
        for storage in storages(made):
            if id(storage) not in given:
                self.hold(storage)
        return made

    def hold(self, storage: torch.UntypedStorage) -> None:
        """Count a storage until nobody has it any more."""
        key, size = id(storage), storage.nbytes()
        if key in self.known:
            return

        def release(_: Any) -> None:
            del self.known[key]
            self.bytes -= size

        self.known[key] = weakref.ref(storage, release)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


def storages(values: Any) -> list[torch.UntypedStorage]:
    """Those of all tensors in there."""
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]


def count_peak(compute: Callable[[], object]) -> int:
    """The bytes of all that a function makes of tensors on the meta device, where as much of it as ever is there at
    once. The random state of the CPU stays as it is. Raises RuntimeError where it reads numbers."""
    with torch.random.fork_rng(devices=[]), Held() as held:
        compute()
    return held.peak
