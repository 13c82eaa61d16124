"""Scores of documents: log-probabilities summed over all segments of a document, wherever its examples lie.

Each shard of features writes the sums of the documents in it. A document has a number in its split, in the order in which documents are
laid out; a range of numbers is then gathered from the shards that hold some of it.

Tested in tests/pipelines/test_extract_features.py.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.errors import BuildError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, provenance
from tokenreel.format.manifest import Manifest
from tokenreel.format.provenance import DOC_ID, DOCUMENT, EXAMPLE, SEGMENT, SOURCE
from tokenreel.model_features.predictions import Arranged
from tokenreel.storage import arrow_memory, files

PREDICTED, LOGPROB, SCORE, PERPLEXITY = "predicted_tokens", "logprob", "score", "perplexity"
_SEGMENTS = 1 << 32  # more than an example has


@dataclasses.dataclass
class SegmentSums:
    """What was predicted in the segments of some examples, batch by batch."""

    keys: list[npt.NDArray[np.int64]] = dataclasses.field(default_factory=list)  # example times _SEGMENTS, plus segment from 0
    counts: list[npt.NDArray[np.int64]] = dataclasses.field(default_factory=list)
    sums: list[npt.NDArray[np.float64]] = dataclasses.field(default_factory=list)

    def add(self, arranged: Arranged, logprobs: npt.NDArray[np.float32], first: int, rows: int) -> None:
        """Adds the first `rows` examples of a batch, whose numbers begin with `first`."""
        assert arranged.segments is not None
        row, column = np.nonzero(arranged.weights[:rows])
        segment = arranged.segments[row, column].astype(np.int64) - 1
        found, inverse = np.unique((first + row) * _SEGMENTS + segment, return_inverse=True)
        self.keys.append(found)
        self.counts.append(np.bincount(inverse, minlength=len(found)))
        self.sums.append(np.bincount(inverse, weights=logprobs[row, column], minlength=len(found)).astype(np.float64))

    def totals(self) -> tuple[int, float]:
        """Gives how many tokens were predicted, and the sum of their log-probabilities."""
        return sum(int(each.sum()) for each in self.counts), float(sum(each.sum() for each in self.sums))


def write_part(path: str, directory: str, fingerprint: str, split: str, first: int, last: int, sums: SegmentSums) -> tuple[int, int]:
    """Writes the sums of the documents in some examples, by their numbers.

    Args:
      path: of the table.
      directory: of the dataset.
      fingerprint: of the dataset.
      split: of the dataset.
      first: the first example.
      last: the example behind the last.
      sums: what was predicted in them.

    Returns:
      the numbers of the first document and of that behind the last; (0, 0) where nothing was predicted.

    Raises:
      BuildError: the provenance tables do not tell of a segment.
    """
    import pyarrow as pa

    rows = _rows(directory, fingerprint, split, first, last)
    known = rows[EXAMPLE].to_numpy() * _SEGMENTS + rows[SEGMENT].to_numpy().astype(np.int64)
    wanted = np.concatenate(sums.keys) if sums.keys else np.zeros(0, np.int64)
    place = np.searchsorted(known, wanted)
    if len(wanted) and ((place >= len(known)) | (known[np.minimum(place, len(known) - 1)] != wanted)).any():
        raise BuildError(f"{directory}: the provenance tables of split {split!r} do not tell of each segment. Verify the dataset.")
    documents, firsts, inverse = np.unique(rows[DOCUMENT].to_numpy()[place], return_index=True, return_inverse=True)
    counts = np.concatenate(sums.counts) if sums.counts else np.zeros(0, np.int64)
    values = np.concatenate(sums.sums) if sums.sums else np.zeros(0)
    at = pa.array(place[firsts])
    table = pa.table(
        {
            DOCUMENT: documents,
            SOURCE: rows[SOURCE].take(at),
            DOC_ID: rows[DOC_ID].take(at),
            PREDICTED: np.bincount(inverse, weights=counts, minlength=len(documents)).astype(np.int64),
            LOGPROB: np.bincount(inverse, weights=values, minlength=len(documents)),
        }
    )
    _write(path, table)
    return (int(documents[0]), int(documents[-1]) + 1) if len(documents) else (0, 0)


def write_scores(path: str, parts: Sequence[str], first: int, last: int) -> tuple[int, dict[str, list[Any]]]:
    """Gathers a range of documents, and writes their scores.

    Args:
      path: of the table.
      parts: paths of the tables that `write_part` wrote, in the order of their examples.
      first: number of the first document.
      last: number of the document behind the last.

    Returns:
      how many documents there are, and by source their number, predicted tokens and log-probability.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    filters = [(DOCUMENT, ">=", first), (DOCUMENT, "<", last)]
    read = [pq.read_table(arrow_memory.read(io.BytesIO(files.read_bytes(part))), filters=filters, use_threads=False) for part in parts]
    table = pa.concat_tables(read)
    documents, firsts, inverse = np.unique(table[DOCUMENT].to_numpy(), return_index=True, return_inverse=True)
    counts = np.bincount(inverse, weights=table[PREDICTED].to_numpy(), minlength=len(documents)).astype(np.int64)
    sums = np.bincount(inverse, weights=table[LOGPROB].to_numpy(), minlength=len(documents))
    at = pa.array(firsts)
    sources = table[SOURCE].take(at).combine_chunks().cast(pa.string())
    scores = sums / np.maximum(counts, 1)
    made = {SOURCE: sources, DOC_ID: table[DOC_ID].take(at), PREDICTED: counts, LOGPROB: sums, SCORE: scores, PERPLEXITY: np.exp(-scores)}
    _write(path, pa.table(made))
    told = {}
    for name in sorted(pc.unique(sources).to_pylist()):
        of_source = pc.equal(sources, name).to_numpy(zero_copy_only=False)
        told[name] = [int(of_source.sum()), int(counts[of_source].sum()), float(sums[of_source].sum())]
    return len(documents), told


def _write(path: str, table: Any) -> None:
    import pyarrow.parquet as pq

    with files.write_atomic(path) as file:
        pq.write_table(table, file, compression="zstd", store_schema=False)


def _rows(directory: str, fingerprint: str, split: str, first: int, last: int) -> Any:
    """Reads the segments of some examples: a `pyarrow.Table`, sorted by example and segment.

    Raises:
      BuildError: a table lacks the numbers of documents, as those of early versions do.
    """
    import pyarrow as pa

    manifest = _manifest(directory, fingerprint)
    shards = manifest.splits[split].shards
    bounds = ragged.offsets_of(np.array([shard.records for shard in shards], dtype=np.int64))
    begin, end = (int(np.searchsorted(bounds, example, side="right")) - 1 for example in (first, last - 1))
    parts = [_table(directory, fingerprint, naming.provenance(split, shard, len(shards))) for shard in range(begin, end + 1)]
    table = pa.concat_tables(parts).combine_chunks()
    examples = table[EXAMPLE].to_numpy()
    low, high = np.searchsorted(examples, [first, last])
    return table.slice(int(low), int(high - low))


@functools.lru_cache(maxsize=4)
def _manifest(directory: str, fingerprint: str) -> Manifest:
    found = manifests.read(directory)
    if found.fingerprint != fingerprint:
        raise BuildError(f"{directory}: another build replaced the dataset. Run the same command again.")
    return found


@functools.lru_cache(maxsize=2)
def _table(directory: str, fingerprint: str, name: str) -> Any:
    import pyarrow as pa

    found = provenance.read(directory, _manifest(directory, fingerprint), name, [EXAMPLE, SEGMENT, SOURCE, DOC_ID, DOCUMENT])
    return found.set_column(found.column_names.index(SOURCE), SOURCE, found[SOURCE].cast(pa.string()))
