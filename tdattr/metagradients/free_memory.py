"""How much memory can still be taken: of a device, and of a process that a container or SLURM keeps within a limit."""

from pathlib import Path

import torch

MOUNT = Path("/sys/fs/cgroup")
GROUPS = Path("/proc/self/cgroup")
# of control groups, version 2 and 1 (Linux's Documentation/admin-guide): the limit, what is taken of it, and of that
# the files' pages, which are given up when memory is short
NAMES = {
    "": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


def find_free_memory(device: torch.device) -> int:
    """The bytes that can be taken now."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # taken, but free for tensors
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    import psutil  # not needed elsewhere

    return min([int(psutil.virtual_memory().available), *free_of_limits(GROUPS, MOUNT)])


def free_of_limits(groups: Path, mount: Path) -> list[int]:
    """What is left of every limit of the control groups that the process is in, and of those around them; nothing where
    there is none. ``groups``: as /proc/self/cgroup lists them; ``mount``: the folder of all."""
    if not groups.exists():
        return []
    free = []
    for line in groups.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in NAMES:
            limit, taken, pages = NAMES[controllers]
            top = mount / controllers
            folder = top / path.lstrip("/")
            for place in (folder, *folder.parents):
                if place.is_relative_to(top) and (place / limit).exists() and (place / taken).exists():
                    asked = (place / limit).read_text().strip()
                    if asked != "max":
                        left = int(asked) - int((place / taken).read_text())
                        free.append(left + read_pages(place / "memory.stat", pages))
    return free


def read_pages(stat: Path, names: tuple[str, ...]) -> int:
    """Those numbers of a ``memory.stat``, added up."""
    if not stat.exists():
        return 0
    values = dict(line.split(maxsplit=1) for line in stat.read_text().splitlines())
    return sum(int(values.get(name, 0)) for name in names)
