"""How often a document is taken: not at all, once, or several times.

Stage files hold every document that the filters leave. What a build takes of them is decided here, from the hash of a document's name and
from the list of those whose text is elsewhere in the corpus, so that one stage file serves builds with other weights and splits.

A document that is taken n times has the **repeats** 0 to n - 1.
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
from tokenreel.curation.hash_tables import read_rows, rows_between
from tokenreel.staging.columns import StageInfo
from tokenreel.staging.stage_file import StageFile

VERSION = "selection-1"
Counts = tuple[int, int, int, int]  # documents, tokens, characters, bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSelection:
    """A stage file and what a build takes of it.

    Attributes:
      info: the stage file.
      splits: for each split, what is taken of its documents by repeat: the first entry counts what is taken at all, the next one what is
        taken at least twice, and so on.
      duplicates: documents that are not taken because their text is elsewhere.
      not_sampled: documents that are not taken because of `sources.epochs`.
      low_score, no_score: documents that are not taken because of `filters.scores`.
      removed: file with the rows of the duplicates, and of what `filters.scores` leaves out; None where there are none.
      quantiles: of the sort values in a merged file that is sorted by these, the smallest and the largest included; then `splits` names the
        one split that the file holds.
    """

    info: StageInfo
    splits: Mapping[str, tuple[Counts, ...]]
    duplicates: int = 0
    not_sampled: int = 0
    low_score: int = 0
    no_score: int = 0
    removed: str | None = None
    quantiles: tuple[int, ...] = ()

    def counts(self, split: str, repeat: int | None = None) -> Counts:
        """Counts what is taken for a split: of one repeat, or of all."""
        by_repeat = self.splits[split]
        chosen = by_repeat if repeat is None else by_repeat[repeat : repeat + 1]
        documents, tokens, characters, size = (sum(counts[i] for counts in chosen) for i in range(4))
        return documents, tokens, characters, size


def passes(config: JobConfig, split: str, source: int | None) -> int:
    """Gives the most times that any document of a source, or of all sources, is taken."""
    if split != TRAIN:  # held-out documents are for measuring, and a repeat measures nothing new
        return 1
    chosen = config.sources if source is None else config.sources[source : source + 1]
    return max(math.ceil(source.epochs) for source in chosen)


def draw_repeats(names: npt.NDArray[np.uint64], epochs: float) -> npt.NDArray[np.int64]:
    """Draws how often documents are taken: `epochs` times on average, rounded down or up by the hash of the name.

    Args:
      names: uint64 [n] hashes of the documents' names.
      epochs: of their source.

    Returns:
      int64 [n]. A document that is taken for some `epochs` is taken for all larger ones.

    >>> names = keys.mix(np.arange(1000))
    >>> np.bincount(draw_repeats(names, 2.5)).tolist()
    [0, 0, 518, 482]
    >>> bool((draw_repeats(names, 0.2) >= draw_repeats(names, 0.1)).all())
    True
    """
    whole = int(epochs)
    drawn = keys.mix(names ^ np.uint64(keys.key("copies"))) < np.uint64(keys.threshold(epochs - whole))
    return whole + drawn.astype(np.int64)


def repeats_of(
    config: JobConfig, selection: StageSelection, stage: StageFile, split: str, first: int, last: int
) -> npt.NDArray[np.int64] | None:
    """Finds out how often each of some documents of a stage file is taken.

    Args:
      config: the settings of the build.
      selection: the stage file, and which of its documents are duplicates.
      stage: the same file, opened.
      split: the documents' split.
      first: the first document, as a row of the file.
      last: the row behind the last document.

    Returns:
      int64 [last - first], or None where each document is taken once: the usual case, which reads nothing.
    """
    epochs = config.sources[selection.info.source].epochs
    if epochs == 1 and selection.removed is None:
        return None
    count = draw_repeats(stage.read("key", first, last), epochs)
    if split != TRAIN:
        np.minimum(count, 1, out=count)
    count[rows_between(selection.removed, first, last)] = 0
    return count


def count_splits(info: StageInfo, config: JobConfig, removed: str | None = None) -> StageSelection:
    """Counts what is taken of a stage file.

    Args:
      info: the stage file.
      config: the settings of the build.
      removed: file with the rows of duplicates, as `write_rows` makes it.
    """
    stage = StageFile(info)
    selection = StageSelection(info=info, splits={}, removed=removed)
    sizes = (np.diff(stage.read("token_offset")), stage.read("characters"), stage.read("bytes"))
    counted = {split: _count_split(config, selection, stage, split, sizes) for split in split_ranges(config, info.source)}
    duplicates = read_rows(removed) if removed is not None else np.zeros(0, dtype=np.int64)
    not_sampled = 0
    if config.sources[info.source].epochs < 1:
        absent = draw_repeats(stage.read("key"), config.sources[info.source].epochs) == 0
        absent[duplicates] = False  # counted as duplicates, and no document counts twice
        not_sampled = int(np.count_nonzero(absent))
    return dataclasses.replace(selection, splits=counted, duplicates=len(duplicates), not_sampled=not_sampled)


def _count_split(
    config: JobConfig, selection: StageSelection, stage: StageFile, split: str, sizes: tuple[npt.NDArray[np.integer], ...]
) -> tuple[Counts, ...]:
    """Counts what is taken for a split, by repeat; `sizes` are the int [n] tokens, characters and bytes of the file's documents."""
    source = selection.info.source
    first, last = stage.documents_between(*split_ranges(config, source)[split])
    count = repeats_of(config, selection, stage, split, first, last)
    by_repeat = []
    for repeat in range(passes(config, split, source)):
        chosen = slice(first, last) if count is None else first + np.flatnonzero(count > repeat)
        tokens, characters, size = (int(values[chosen].sum()) for values in sizes)
        documents = last - first if isinstance(chosen, slice) else len(chosen)
        by_repeat.append((documents, tokens, characters, size))
    return tuple(by_repeat)
