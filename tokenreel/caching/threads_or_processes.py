"""Threads or processes: which make caches sooner on this machine.

A worker process takes seconds to start: it imports Beam and loads what a step encodes with, each process for itself. Threads take none. But
they run steps in turns, except for the encoding of blocks of text (`tasks/step_turns.py`), so they are worth it as long as what is left to
Python takes less than starting does. A run of the steps over the first megabyte of each split tells.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tokenreel.caching import cache_job, units
from tokenreel.caching.cache_job import TaskCache
from tokenreel.storage import files
from tokenreel.tasks import step_turns

_SECONDS_TO_START = 4.0  # of a worker process, with all it loads
_SAMPLE_BYTES = 1 << 20
_MANY = 4096  # examples at a time, as many as are staged together at most


def prefers_threads(caches: Sequence[TaskCache]) -> bool:
    """Says whether threads make some caches sooner than processes."""
    left = _SECONDS_TO_START
    for cache in caches:
        if cache.unit_bytes > cache_job.unit_bytes(()):  # gigabytes, which need not be listed once more
            return False
        for split in cache.splits:
            seconds = _python_seconds(cache, split)
            if seconds is None or seconds > left:
                return False
            left -= seconds
    return bool(caches)


def _python_seconds(cache: TaskCache, split: int) -> float | None:
    """Estimates the processor seconds for which the steps over a split need Python's lock; None where a glance does not tell."""
    task = cache.load()
    found = units.list_inputs(task.source, task.splits[split])
    if not found or any(files.is_remote(file.path) for file in found):  # whose bytes a thread would wait for in its turn
        return None
    unit = next(units.list_units(task, 0, split, _SAMPLE_BYTES), None)
    if unit is None or not unit.ranges:
        return None
    size = sum((each.file.size if each.end is None else each.end) - each.start for each in unit.ranges)
    if size > 4 * _SAMPLE_BYTES:  # it cannot be cut
        return None
    try:
        with step_turns.one_at_a_time():
            begin = time.thread_time() - step_turns.seconds_of_others()
            elements = units.examples(task, unit, 0, cache.seed)
            while elements.read_many(_MANY):
                pass
            taken = time.thread_time() - step_turns.seconds_of_others() - begin
    except Exception:  # of a step, which the job will tell with its place
        return None
    return taken * sum(file.size for file in found) / max(size, 1)
