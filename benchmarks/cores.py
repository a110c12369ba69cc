"""Which core does what, and who used it: one core for the service under test, another for the load and the upstream."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the service, the core of everything else, and a sentence on both; None where nothing is pinned."""

    service: int | None
    load: int | None
    note: str


def split() -> Cores:
    """Choose two of the cores that this process may use; without two of them, or off Linux, nothing is pinned."""
    if not hasattr(os, "sched_getaffinity") or shutil.which("taskset") is None:
        return Cores(None, None, "nothing is pinned to a core: this system has no taskset")
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        return Cores(None, None, "nothing is pinned to a core: there is one only, which service and load share")
    first, last = usable[0], usable[-1]
    return Cores(last, first, f"core {last} for the service under test, core {first} for upstream and load")


def pinned(core: int | None, command: list[str]) -> list[str]:
    """Give a command that runs another one on a core."""
    return command if core is None else ["taskset", "-c", str(core), *command]


def used(pid: int) -> float:
    """Give the CPU seconds that a process has used, all threads; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def busy(cores: Cores) -> float:
    """Give the CPU seconds that were not idle on the two cores, time stolen by a hypervisor included."""
    wanted = {f"cpu{core}" for core in (cores.service, cores.load) if core is not None}
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return 0.0
    rows = [row for row in lines if row and row[0] in wanted]
    return (
        sum(int(row[column]) for row in rows for column in (1, 2, 3, 6, 7, 8)) / _TICKS
    )  # but idle and waiting for disks


def resident(pid: int) -> float:
    """Give a process's resident memory in MB (VmRSS, of 1024² bytes).

    Raises:
        OSError: there is no /proc, or no such process.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"process {pid} has no VmRSS")


def machine() -> dict[str, object]:
    """Describe the machine: CPU, cores, memory, system, and how busy it is right now."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2,
        "system": f"{platform.system()} {platform.release()}",
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }
