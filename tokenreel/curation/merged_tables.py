"""Merged tables of hashes: those of many parts in one order, so that a range of the hashes is read from few files.

The search for duplicates reads each range of the hashes from every table. Where that would be too many reads, K tables are put together at
a time into a *strand*, as often as it takes: merged tables, each of a range of the hashes, in whose rows the number of the part's table
stands as well.

    row of a merged table = number of the table << 32 | row in that table

Tested in tests/tokenreel/curation/test_hash_tables.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.splits import key_range
from tokenreel.curation import hash_tables
from tokenreel.curation.hash_tables import TABLE_SHIFT, HashTable
from tokenreel.storage import files, merge_tasks
from tokenreel.storage.merge_tasks import MergeTask

VERSION = "tables-1"  # changes where the same tables would give other bytes


def cut(tables: Sequence[HashTable], strands: npt.NDArray[np.int64], fan_in: int) -> Iterator[MergeTask]:
    """Yields the merged tables of a pass.

    Args:
      tables: what there is, in the order of the text.
      strands: int64 [n] the strand of each, ascending; of the tables of parts each is one of its own.
      fan_in: strands that are put together at a time.
    """

    def describe(first: int, last: int) -> tuple[int, str]:
        own = tables[first:last]
        ranges = hash_tables.count_ranges(sum(table.entries for table in own))
        # The numbers of the tables are in the rows, so a table of other numbers is another table.
        return ranges, keys.digest(VERSION, first, ranges, *(os.path.basename(table.path) for table in own))

    return merge_tasks.cut(np.diff(strands, prepend=-1) != 0, fan_in, describe)


def merge(directory: str, tables: Sequence[HashTable], task: MergeTask) -> HashTable:
    """Writes a merged table, or keeps the one that an earlier build finished.

    Raises:
      BuildError: a table is gone or damaged.
    """
    path = files.join(directory, f"{task.name}-{task.part:05d}.hashes")
    finished = hash_tables.reopen(path, task.part, task.ranges)
    if finished is not None:
        return finished
    low, high = key_range(task.part, task.ranges)
    parts = []
    for number in range(task.first, task.last):
        entries = tables[number].between(low, high)
        if not tables[number].ranges:
            entries = entries.copy()
            assert not (entries[:, 3] >> np.uint64(TABLE_SHIFT)).any()  # a block of text has fewer lines
            entries[:, 3] |= np.uint64(number << TABLE_SHIFT)
        parts.append(entries)
    every = np.concatenate(parts)
    parts.clear()
    order = np.lexsort((every[:, 2], every[:, 1], every[:, 0]))  # stable: of equal ranks the first in the text comes first
    return hash_tables.write_table(path, every[order], np.zeros(0, dtype=np.int64), task.part, task.ranges)
