"""How often a document is taken: not at all, once, or several times.

Stage files hold every document that the filters leave. What a build takes of them is decided here, from the hash of a document's name and
from the list of those whose text is elsewhere in the corpus, so that one stage file serves builds with other weights and splits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.splits import TRAIN, split_ranges
from tokenreel.curation.hash_tables import read_rows
from tokenreel.staging.columns import StageInfo
from tokenreel.staging.stage_file import StageFile

VERSION = "selection-1"

Counts = tuple[int, int, int, int]  # documents, tokens, characters, bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSelection:
    """A stage file and what a build takes of it.

    Attributes:
      info: of the file.
      splits: documents, tokens, characters and bytes of each split, by copy: the first entry counts what is taken at all, the next one
        what is taken at least twice, and so on.
      duplicates: documents that are not taken because their text is elsewhere.
      not_sampled: documents that are not taken because of `sources.epochs`.
      removed: file with the rows of the duplicates; None where there are none.
    """

    info: StageInfo
    splits: Mapping[str, tuple[Counts, ...]]
    duplicates: int = 0
    not_sampled: int = 0
    removed: str | None = None

    def counts(self, split: str, copy: int | None = None) -> Counts:
        """What is taken for a split: of one copy, or of all."""
        found = self.splits[split]
        chosen = found if copy is None else found[copy : copy + 1]
        documents, tokens, characters, size = (sum(counts[i] for counts in chosen) for i in range(4))
        return documents, tokens, characters, size


def passes(config: JobConfig, split: str, source: int | None) -> int:
    """How many copies of a document there are at most: in a source, or in any."""
    if split != TRAIN:
        return 1
    chosen = config.sources if source is None else config.sources[source : source + 1]
    return max(math.ceil(source.epochs) for source in chosen)


def copies(names: npt.NDArray[np.uint64], epochs: float) -> npt.NDArray[np.int64]:
    """How often documents are taken, given the hashes of their names.

    >>> names = keys.mix(np.arange(1000))
    >>> np.bincount(copies(names, 2.5)).tolist()
    [0, 0, 518, 482]
    >>> bool((copies(names, 0.2) >= copies(names, 0.1)).all())
    True
    """
    whole = int(epochs)
    drawn = keys.mix(names ^ np.uint64(keys.key("copies"))) < np.uint64(keys.threshold(epochs - whole))
    return whole + drawn.astype(np.int64)


def take(config: JobConfig, staged: StageSelection, stage: StageFile, split: str, first: int, last: int) -> npt.NDArray[np.int64] | None:
    """How often each of the documents [first, last) of a stage file is taken for a split: [last - first]; None for once each."""
    epochs = config.sources[staged.info.source].epochs
    if epochs == 1 and staged.removed is None:
        return None
    count = copies(stage.read("key", first, last), epochs)
    if split != TRAIN:
        np.minimum(count, 1, out=count)
    if staged.removed is not None:
        rows = read_rows(staged.removed)
        count[rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first] = 0
    return count


def count_splits(info: StageInfo, config: JobConfig, removed: str | None = None) -> StageSelection:
    """Counts what is taken of a stage file.

    Args:
      info: of the file.
      config: of the build.
      removed: file with the rows of duplicates, as `write_rows` makes it.
    """
    stage = StageFile(info)
    staged = StageSelection(info=info, splits={}, removed=removed)
    lengths = np.diff(stage.read("token_offset"))
    sizes = (lengths, stage.read("characters"), stage.read("bytes"))
    splits = {}
    for name, (low, high) in split_ranges(config, info.source).items():
        first, last = stage.documents_between(low, high)
        count = take(config, staged, stage, name, first, last)
        found = []
        for copy in range(passes(config, name, info.source)):
            chosen = slice(first, last) if count is None else first + np.flatnonzero(count > copy)
            tokens, characters, size = (int(values[chosen].sum()) for values in sizes)
            found.append((last - first if count is None else int(np.count_nonzero(count > copy)), tokens, characters, size))
        splits[name] = tuple(found)
    duplicates = read_rows(removed) if removed is not None else np.zeros(0, dtype=np.int64)
    not_sampled = 0
    if config.sources[info.source].epochs < 1:
        absent = copies(stage.read("key"), config.sources[info.source].epochs) == 0
        absent[duplicates] = False
        not_sampled = int(np.count_nonzero(absent))
    return dataclasses.replace(staged, splits=splits, duplicates=len(duplicates), not_sampled=not_sampled)
