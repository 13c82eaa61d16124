"""Merged files: the documents of many stage files in the order in which they are taken, so that a group is read from few places.

A merge pass puts K strands together. A *strand* is a stage file, or what an earlier pass made of some: the documents of a stretch of one
source's text, by key, cut into merged files by ranges of the keys, so that a worker holds one of these at a time, whatever a strand holds:

    stage files        |. . . . . .|. . . . . .|. . . . . .|. . . . . .|      each has keys of all sizes
    merged once, K = 2 |. . .|. . .            |. . .|. . .            |      2 strands of 2 merged files: a group's keys lie in one of each
    merged twice       |. .|. .|. .|. .                                |      1 strand of 4

Where documents are ordered by a field, sort values take the place of keys, and each merged file is of one split. Stage files lie by key, so
the first pass reads them whole, and puts as many together as make one file: `Values` says what a file holds then.

A merged file is a stage file without what only counting needs. Documents of equal keys or values stay as the text lies. Duplicates are left
out.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.splits import key_range
from tokenreel.curation import hash_tables
from tokenreel.staging import identity, stage_file
from tokenreel.staging.columns import Columns, StageInfo
from tokenreel.staging.stage_file import StageFile
from tokenreel.storage import files
from tokenreel.storage.pooled import each

VERSION = "merge-1"  # changes where the same stage files would give other bytes


class Input(NamedTuple):
    """A file of a strand that is merged.

    Attributes:
      info: the file.
      removed: the file with the rows of its duplicates, as `hash_tables.write_rows` makes it; None where it has none.
    """

    info: StageInfo
    removed: str | None = None


class Values(NamedTuple):
    """Which documents of some files a merged file holds that is sorted by their sort values.

    Attributes:
      keys: [low, high) of their split.
      low, high: their sort values lie in [low, high), up to 2**64.
    """

    keys: tuple[int, int]
    low: int
    high: int


def name_of(paths: Sequence[str], removed: Sequence[str], ranges: int, *more: str) -> str:
    """Names the files of a strand by what they are made of, wherever that lies.

    Args:
      paths: the files that are merged, in the order of the text.
      removed: for each, the file of its duplicates; "" where it has none.
      ranges: into how many files the strand is cut.
      more: what else their documents and their order depend on.
    """
    return keys.digest(VERSION, identity.VERSION, ranges, *map(os.path.basename, paths), *map(os.path.basename, removed), *more)


def merge(
    path: str, inputs: Sequence[Input], *, source: int, strand: int, part: int, ranges: int, values: Values | None = None
) -> StageInfo | None:
    """Writes one file of a strand, or keeps the one that an earlier build finished.

    Args:
      path: the file to write.
      inputs: files that hold its documents, in the order of the text; of a strand that is cut, in the order of the keys or values.
      source: index of the source of all.
      strand: number of the strand in the source.
      part: the range of keys that the file holds,
      ranges: of how many.
      values: which documents the file holds, sorted by their sort values, in place of a range of keys.

    Returns:
      What the file holds; None where there is no such document, and no file.

    Raises:
      BuildError: a file is gone or damaged.
    """
    if (finished := stage_file.find(path, source, strand)) is not None:
        return finished
    find = functools.partial(_Rows.of_keys, *key_range(part, ranges)) if values is None else functools.partial(_Rows.of_values, values)
    remote = any(files.is_remote(item.info.path) for item in inputs)
    found = [rows for rows in each(find, inputs, remote=remote) if len(rows.place)]
    if not found:
        return None
    columns = _merge(found, remote)
    info = StageInfo(
        path=path,
        source=source,
        block=strand,
        part=part,
        last=part == ranges - 1,
        body=0,
        token_dtype=found[0].stage.info.token_dtype,
        dead_letters=0,
        filtered={},
        lines_removed={},
        characters_removed=0,
        modified=0,
        ranges=ranges,
        **columns.counts(),
    )
    about = {"merged": len(inputs), **found[0].stage.header()["about"]}
    # Dead letters and the contents of input files are told by the stage files themselves, which stay until the build ends.
    empty = ("files", "lines", "stored", "extents", "read", "dead_letters_by_file", "lost_bytes")
    return stage_file.write_columns(info, columns, {**{name: [] for name in empty}, "about": about})


class _Rows(NamedTuple):
    """The documents that a merged file takes of another file.

    Attributes:
      stage: the other file.
      first, last: they lie in its rows [first, last).
      kept: int64 [n] which of these rows they are, counted from `first`, in the order wanted; None for all.
      by: the column that the documents are sorted by: `key` or `sort_value`.
      place: uint64 [n] that column.
      offsets: int64 [last - first + 1] bounds of the tokens of all rows.
    """

    stage: StageFile
    first: int
    last: int
    kept: npt.NDArray[np.int64] | None
    by: str
    place: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of_keys(cls, low: int, high: int, item: Input) -> _Rows:
        """Finds the documents whose keys lie in [low, high)."""
        stage = StageFile(item.info)
        first, last = stage.documents_between(low, high)
        key, kept, gone = stage.read("key", first, last), None, hash_tables.rows_between(item.removed, first, last)
        if len(gone):
            kept = np.delete(np.arange(last - first), gone)
            key = key[kept]
        return cls(stage, first, last, kept, "key", key, _offsets(stage, first, last))

    @classmethod
    def of_values(cls, wanted: Values, item: Input) -> _Rows:
        """Finds the documents of a split whose sort values lie in a range, in the order of the text where the file is not sorted yet."""
        stage = StageFile(item.info)
        if stage.info.ranges:  # of the same split, and sorted
            first, last, place = stage.sorted_between(wanted.low, wanted.high)
            return cls(stage, first, last, None, "sort_value", place, _offsets(stage, first, last))
        first, last = stage.documents_between(*wanted.keys)
        kept = stage.in_text_order(first, last)
        kept = kept[~np.isin(kept, hash_tables.rows_between(item.removed, first, last))]
        place = stage.read("sort_value", first, last)[kept]
        return cls(stage, first, last, kept, "sort_value", place, _offsets(stage, first, last))

    def fixed(self, name: str) -> npt.NDArray[np.uint64]:
        """Gives a column of one value a document: uint64 [n]; zeros where the file has it not."""
        if name == self.by:
            return self.place
        values = self.stage.read(name, self.first, self.last)
        return values if self.kept is None else values[self.kept]

    def ragged(self, name: str, offsets: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Reads a column of several values a document by their bounds in the file: the values end to end, and int64 [n] their numbers."""
        values, lengths = self.stage.read(name, int(offsets[0]), int(offsets[-1])), np.diff(offsets)
        if self.kept is None:
            return values, lengths
        values, offsets = ragged.take(values, offsets - offsets[0], self.kept)
        return values, np.diff(offsets)

    def counted(self, name: str, offset_name: str, present: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Reads a column as `ragged` does, with its bounds; nothing for each document where the file has it not."""
        if not present:
            return self.stage.read(name, 0, 0), np.zeros(len(self.place), dtype=np.int64)
        return self.ragged(name, self.stage.read(offset_name, self.first, self.last + 1))

    def names(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Gives what the documents are called: bytes end to end, and int64 [n] how many.

        Names that follow from the place of a document are written out: a merged file knows no places.
        """
        if self.stage.info.id_bytes:
            return self.counted("id", "id_offset", True)
        texts = [text.encode("utf-8", "backslashreplace") for text in self.stage.names(self.first, self.last, self.kept)]
        return np.frombuffer(b"".join(texts), dtype=np.uint8), np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))


def _offsets(stage: StageFile, first: int, last: int) -> npt.NDArray[np.int64]:
    return stage.read("token_offset", first, last + 1) if first < last else np.zeros(1, np.int64)


def _merge(found: Sequence[_Rows], remote: bool) -> Columns:
    """Puts the documents of several files into their order; column by column, so that of few two copies are held at a time."""
    # Documents of one name, or of one value, tie: they stay as the text lies.
    order = np.argsort(np.concatenate([rows.place for rows in found]), kind="stable")

    def join(parts: list[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        bounds = ragged.offsets_of(np.concatenate([lengths for _, lengths in parts]))
        values = np.concatenate([values for values, _ in parts])
        parts.clear()
        return ragged.take(values, bounds, order)

    def gather(read: Callable[[_Rows], tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        return join(list(each(read, found, remote=remote)))

    def read(name: str, offset_name: str, attribute: str) -> tuple[npt.NDArray[Any] | None, npt.NDArray[np.int64] | None]:
        if not any(getattr(rows.stage.info, attribute) for rows in found):
            return None, None
        return gather(lambda rows: rows.counted(name, offset_name, getattr(rows.stage.info, attribute) > 0))

    names, name_offsets = gather(lambda rows: rows.names())
    metadata, metadata_offsets = read("metadata", "metadata_offset", "metadata_bytes")
    sentences, sentence_offsets = read("sentence_length", "sentence_offset", "sentences")
    ordered = all(rows.stage.info.ordered for rows in found)
    tokens, token_offsets = gather(lambda rows: rows.ragged("tokens", rows.offsets))
    with_spans = all(rows.stage.info.offsets for rows in found)
    spans = gather(lambda rows: rows.ragged("token_spans", rows.offsets))[0] if with_spans else None
    nothing = np.zeros(0, dtype=np.int64)
    return Columns(
        key=np.concatenate([rows.fixed("key") for rows in found])[order],
        token_offset=token_offsets,
        position=nothing,
        characters=nothing,
        bytes=nothing,
        file=nothing.astype(np.int32),
        tokens=tokens,
        faults=np.zeros(0, dtype=np.uint8),
        id=names,
        id_offset=name_offsets,
        metadata=metadata,
        metadata_offset=metadata_offsets,
        sort_value=np.concatenate([rows.fixed("sort_value") for rows in found])[order] if ordered else None,
        sentence_length=sentences,
        sentence_offset=sentence_offsets,
        token_spans=spans,
    )
