"""Many independent trainings, a process for each core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from rich.progress import track

__all__ = ["sweep"]

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def sweep(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], title: str = "training"
) -> list[Outcome]:
    """Return ``work(job)`` for each job, in order; ``work`` is a module's function.

    Fresh processes, not forks: torch's threads do not survive a fork.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        return list(track(pool.map(work, jobs), title, total=len(jobs), transient=True))
