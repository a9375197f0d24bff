"""Many independent trainings, a process for each core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from rich.progress import track

__all__ = ["best_of_each", "sweep"]

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def sweep(
    work: Callable[[Job], Outcome],
    jobs: Sequence[Job],
    title: str = "training",
    workers: int | None = None,
) -> list[Outcome]:
    """Return ``work(job)`` for each job, in order; ``work`` is a module's function.

    ``workers`` processes, by default one for each core; fresh ones, not forks: torch's threads do
    not survive a fork. With one worker everything runs in this process.
    """
    if workers == 1:
        return [work(job) for job in track(jobs, title, transient=True)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
        return list(track(pool.map(work, jobs), title, total=len(jobs), transient=True))


def best_of_each(
    work: Callable[[Job], Outcome],
    groups: Sequence[Sequence[Job]],
    score: Callable[[Outcome], float],
    workers: int | None = None,
) -> list[Job]:
    """Return of each group the job whose outcome has the greatest score."""
    flat = list(dict.fromkeys(job for group in groups for job in group))
    found = dict(zip(flat, sweep(work, flat, "tuning", workers), strict=True))
    return [max(group, key=lambda job: score(found[job])) for group in groups]
