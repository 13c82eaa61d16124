"""Finds ids that several documents have: of one source, or of two, which would hold a document out and train on it.

A document's key is a hash of its source and its id. So ids are hashed once more, each stage file's into a sorted table, and all tables are
compared range by range, as those of texts are (`curation/hash_tables.py`): memory does not grow with the corpus.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.config.build import JobConfig
from tokenreel.curation import hash_tables, leaks
from tokenreel.curation.hash_tables import TABLE_SHIFT, Entries, HashTable
from tokenreel.curation.leaks import Shared
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging.stage_file import StageFile
from tokenreel.storage import files
from tokenreel.wording import brief, one_line, plural


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeated:
    """Ids that several documents have.

    Attributes:
      ids: how many.
      documents: how many have one of them; counted within a source alone.
      place: stage file and row of the first such document.
      example: its id, for people.
    """

    ids: int
    documents: int
    place: tuple[int, int]
    example: str

    def __add__(self, other: Repeated) -> Repeated:
        first = min(self, other, key=lambda repeated: repeated.place)
        return dataclasses.replace(first, ids=self.ids + other.ids, documents=self.documents + other.documents)


Found = Mapping[tuple[int, int], Repeated]  # by the indices of two sources; of one and the same, what repeats within it


def _table(directory: str, selection: StageSelection) -> HashTable:
    """Says where the hashes of the ids of what is taken of a stage file lie."""
    name = "-".join(os.path.basename(path) for path in (selection.info.path, selection.removed or "") if path)
    entries = selection.info.documents - selection.duplicates if selection.info.id_bytes else 0
    return hash_tables.own_table(files.join(directory, f"{name}.ids"), entries)


def tables(directory: str, selections: StageTable) -> list[HashTable]:
    """Says where the hashes of the ids of every stage file lie; that of one without ids is empty, and no file."""
    return [_table(directory, selection) for selection in selections]


def hash_ids(directory: str, selections: StageTable, index: int) -> int:
    """Writes the table of the ids of what is taken of a stage file to a directory, and returns how many entries it has."""
    selection = selections[index]
    if not _table(directory, selection).entries:
        return 0
    stage = StageFile(selection.info)
    names, bounds = stage.read("id").tobytes(), stage.read("id_offset").tolist()
    rows = np.arange(selection.info.documents)
    if selection.removed is not None:
        rows = np.delete(rows, hash_tables.read_rows(selection.removed))
    hashes = hash_tables.hash_texts(names[bounds[row] : bounds[row + 1]] for row in rows.tolist())
    entries = np.column_stack([hashes, np.full(len(rows), index), rows]).astype(np.uint64)  # the stage file in place of a rank
    entries = entries[np.lexsort((rows, hashes[:, 1], hashes[:, 0]))]
    hash_tables.write_table(_table(directory, selection).path, entries, rows[:0])
    return len(entries)


def compare(searched: Sequence[HashTable], selections: StageTable, low: int, high: int) -> Found:
    """Finds the ids that several documents have, of those whose hash begins with a number in [low, high).

    Args:
      searched: the tables of all stage files, or the merged tables that hold them, in the order of the text.
      selections: the stage files.
      low: looks at hashes whose first half is at least this,
      high: and below this.
    """
    parts = [table.between(low, high) for table in searched]
    if not any(map(len, parts)):
        return {}
    entries = np.concatenate(parts)
    entries = entries[np.lexsort((entries[:, 1], entries[:, 0]))]  # stable: documents of one id stay as the text lies, by source
    entries[:, 3] &= np.uint64((1 << TABLE_SHIFT) - 1)  # a merged table has the number of the stage file there too
    same = hash_tables.same_as_before(entries)
    own = selections.numbers("source")[entries[:, 2].astype(np.int64)]
    found: dict[tuple[int, int], Repeated] = {}
    begins = np.flatnonzero(np.append(True, ~same[1:] | (own[1:] != own[:-1]))[: len(entries)])  # of documents of one source and one id
    sizes = np.diff(np.append(begins, len(entries)))
    for source in np.unique(own[begins[sizes > 1]]).tolist():
        chosen = (sizes > 1) & (own[begins] == source)
        found[source, source] = _repeated(selections, entries, begins[chosen], int(sizes[chosen].sum()))
    number = np.cumsum(~same)[begins]  # of the id
    for lag in range(1, len(np.unique(own))):
        first = np.flatnonzero(number[lag:] == number[:-lag])
        pairs = np.stack([own[begins[first]], own[begins[first + lag]]], axis=1)
        for one, other in np.unique(pairs, axis=0).tolist():
            chosen = begins[first[(pairs == (one, other)).all(axis=1)]]
            repeated = _repeated(selections, entries, chosen, 0)
            found[one, other] = found[one, other] + repeated if (one, other) in found else repeated
    return found


def _repeated(selections: StageTable, entries: Entries, chosen: npt.NDArray[np.int64], documents: int) -> Repeated:
    """Describes ids, by the [n] indices of their first documents in `entries`."""
    places = entries[chosen, 2:].astype(np.int64)
    stage, row = places[np.lexsort((places[:, 1], places[:, 0]))[0]].tolist()
    file = StageFile(selections[stage].info)
    begin, end = file.read("id_offset", row, row + 2).tolist()
    name = file.read("id", begin, end).tobytes().decode()
    return Repeated(ids=len(chosen), documents=documents, place=(stage, row), example=one_line(brief(name)))


def add(parts: Iterable[Found]) -> Found:
    """Adds what was found in several ranges of hashes."""
    total: dict[tuple[int, int], Repeated] = {}
    for part in parts:
        for sources, repeated in part.items():
            total[sources] = total[sources] + repeated if sources in total else repeated
    return total


def report(config: JobConfig, found: Found, note: Callable[[str], object]) -> None:
    """Tells of ids that several documents have.

    Args:
      config: the sources and their splits.
      found: in all ranges of hashes.
      note: told of what is no error, a line for each source and for each two.

    Raises:
      SourceError: what one source holds out may be trained on as another's document, and `execution.allow_leaks` is not set.
    """
    for line in _lines(config, found):
        note(line)
    leaks.report(config, {two: Shared(known.ids, known.example) for two, known in found.items() if two[0] != two[1]}, "id", note)


def _lines(config: JobConfig, found: Found) -> Iterator[str]:
    for (source, other), known in sorted(found.items()):
        if source == other:
            repeat = "1 id repeats" if known.ids == 1 else f"{known.ids:,} ids repeat"
            name = config.sources[source].name
            yield f"source {name!r}: {repeat}, {plural(known.documents, 'document')} have them, such as {known.example}; all are taken"
