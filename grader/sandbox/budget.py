"""How long a task's calls may take: CPU seconds first, the wall as a backstop. Runs in the judge."""

from __future__ import annotations

from dataclasses import dataclass, field

from grader.sandbox.zygote_link import Process, Usage

BACKSTOP = 3  # times the CPU budget, on the wall


@dataclass
class Use:
    """What one worker has used of a budget: CPU and queueing as last read, and the seconds waited since."""

    base: Usage
    cpu_s: float = 0.0
    waited_s: float = 0.0
    queued_s: float = 0.0


@dataclass
class Budget:
    """CPU seconds for one task, over all its calls and workers; three times that on the wall.

    Seconds in which the worker stood in the queue for a busy processor count for neither.
    """

    cpu_s: float
    wall_s: float = 0.0
    _elsewhere_s: float = 0.0
    _uses: dict[int, Use] = field(default_factory=dict, repr=False)

    @property
    def spent(self) -> float:
        """CPU seconds spent: exact where it has been read, else the seconds waited, which are no fewer."""
        return self._elsewhere_s + sum(use.cpu_s + use.waited_s for use in self._uses.values())

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds until it may be exhausted, if all of them are used."""
        queued_s = sum(use.queued_s for use in self._uses.values())
        return min(self.cpu_s - self.spent, BACKSTOP * self.cpu_s + queued_s - self.wall_s)

    def charge(self, cpu_s: float, wall_s: float) -> None:
        """Count what was spent elsewhere."""
        self._elsewhere_s += cpu_s
        self.wall_s += wall_s

    def use(self, worker: int, process: Process) -> Use:
        """Return what a worker uses of this budget, counting from its first question on."""
        if worker not in self._uses:
            self._uses[worker] = Use(process.usage() or Usage(0.0))
        return self._uses[worker]
