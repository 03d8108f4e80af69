"""CPU and memory of a process and all its children, sampled while it runs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psutil


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the tree: Unix s, CPU s used so far by those alive and those gone, resident bytes, processes."""

    at: float
    cpu_s: float
    rss: int
    processes: int
    children_cpu_s: float = 0.0
    """The same without the process at the root, which is a workers's master."""


@dataclass
class TreeSampler:
    """Samples a process tree from another thread until `stop()`."""

    pid: int
    every_s: float = 0.25
    samples: list[Sample] = field(default_factory=list)

    def start(self) -> TreeSampler:
        self._stopping = threading.Event()
        self._cpu: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> list[Sample]:
        self._stopping.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        while not self._stopping.wait(self.every_s):
            self._look()

    def _look(self) -> None:
        rss = count = 0
        try:
            parent = psutil.Process(self.pid)
            tree = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                times = process.cpu_times()
                rss += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            count += 1
            self._cpu[process.pid] = times.user + times.system
        used = sum(self._cpu.values())
        self.samples.append(Sample(time.time(), used, rss, count, used - self._cpu.get(self.pid, 0.0)))


def cpu_between(samples: list[Sample], start: float, end: float) -> tuple[float, float]:
    """(CPU s, wall s) between the first and the last sample inside [start, end]. Raises `ValueError` below two."""
    inside = [sample for sample in samples if start <= sample.at <= end]
    if len(inside) < 2:
        raise ValueError(f"fewer than two samples between {start} and {end}")
    return inside[-1].cpu_s - inside[0].cpu_s, inside[-1].at - inside[0].at
