"""From a step to its documents, and from an example back to its steps: exact, from integers and the provenance tables, without a scan.

`tokenreel where` and `tokenreel when` are these functions on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError, TokenreelError
from tokenreel.format import naming, provenance, schema
from tokenreel.format.provenance import DOC_ID, EXAMPLE, LENGTH, SEGMENT
from tokenreel.loaders.examples import Examples
from tokenreel.loaders.fields import align_of
from tokenreel.loaders.run import Run


def where(run: Run, step: int, *, rows: npt.ArrayLike | None = None, vocabulary: Any = None) -> list[Mapping[str, Any]]:
    """Says what is in each row of a step, counted from 0 with the batch size that the run has now.

    Args:
      run: whose steps they are; an iterator over its batches is one.
      step: its number; for a run whose batch size changed, seek by samples (`where_samples`).
      rows: int [k] of the global batch; None for all of this host's that are no padding.
      vocabulary: decodes the documents' tokens; None leaves the text out.

    Returns:
      for each row what `where_samples` says, and `step` and `row`.

    Raises:
      IndexError: the run has no such step, or the step no such row.
    """
    cursor = step * run.batch_size
    if step < 0 or not run.size_at(cursor):
        raise IndexError(f"this run has the steps 0 to {(run.num_batches or 0) - 1:,}, got {step:,}")
    size = run.size_at(cursor)
    if rows is None:
        wanted = run.rows_at(cursor)
        wanted = wanted[wanted < size]  # behind them a padded batch has rows that hold no sample
    else:
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= size):
        raise IndexError(f"step {step:,} has the rows 0 to {size - 1}, got {wanted.min()} to {wanted.max()}")
    found = where_samples(run, run.samples_at(cursor, wanted), vocabulary=vocabulary)
    return [{"step": step, "row": int(row)} | dict(entry) for row, entry in zip(wanted, found, strict=True)]


def where_samples(run: Run, samples: npt.ArrayLike, *, vocabulary: Any = None) -> list[Mapping[str, Any]]:
    """Says what some samples are, counted from the beginning of the run over all hosts.

    Returns:
      for each: `sample`, `source` (name in the mixture, "" for a single dataset), `path`, `split`, `epoch`, `example`, `shard` (file),
      `record` (in the shard), `bytes` ([first, end) in the file), `documents` (see `documents`; None where the dataset has no provenance
      tables).
    """
    numbers = np.asarray(samples, dtype=np.int64).reshape(-1)
    located = run.plan.locate(numbers)
    out: list[Mapping[str, Any]] = [{}] * len(numbers)
    for index in np.unique(located.source).tolist():
        source = run.sources[index]
        places = np.flatnonzero(located.source == index)
        examples = located.example[places]
        try:
            listed: list[Any] = documents(source.dataset, examples, vocabulary=vocabulary)
        except FileNotFoundError:  # built without provenance: the rest is known all the same
            listed = [None] * len(places)
        for place, example, found in zip(places.tolist(), examples.tolist(), listed, strict=True):
            file, record, start, end = source.dataset.records.place(example)
            out[place] = {
                "sample": int(numbers[place]),
                "source": source.name,
                "path": source.dataset.path,
                "split": source.dataset.split,
                "epoch": int(located.epoch[place]),
                "example": example,
                "shard": file,
                "record": record,
                "bytes": [start, end],
                "documents": found,
            }
    return out


def when(run: Run, example: int, source: str | int = 0, *, limit: int | None = None) -> list[Mapping[str, int]]:
    """Lists every time a run sees an example, in order of epochs.

    Args:
      run: whose steps they are; an iterator over its batches is one.
      example: its number in the source.
      source: name or place of the dataset in the mixture.
      limit: stops after so many; needed where the run has no end.

    Returns:
      for each time `epoch`, `sample`, and `step` and `row` by the batch size that the run has now.

    Raises:
      ConfigError: there is no such source, or no limit for a run without end.
      IndexError: there is no such example.
    """
    if limit is None and run.plan.length is None:
        raise ConfigError("this run has no end, so every example comes again for ever: give a limit, or epochs")
    names = [entry.name for entry in run.sources]
    if isinstance(source, str):
        if source not in names:
            raise ConfigError(f"no source {source!r}; there are {', '.join(map(repr, names))}")
        source = names.index(source)
    # Lanes sort the rows of a full batch; this is the inverse, from the sample's place to its row.
    row_of_sample = np.argsort(run.samples_at(0, np.arange(run.batch_size))) if run.size_at(0) else np.arange(run.batch_size)
    found: list[Mapping[str, int]] = []
    for epoch, sample in run.plan.find(source, int(example)):
        if limit is not None and len(found) >= limit:
            break
        step, place = divmod(sample, run.batch_size)
        size = run.size_at(step * run.batch_size)
        if place >= size:
            break  # in the remainder that is dropped
        row = int(row_of_sample[place]) if size == run.batch_size else place
        found.append({"epoch": epoch, "sample": sample, "step": step, "row": row})
    return found


def documents(dataset: Examples, examples: npt.ArrayLike, *, vocabulary: Any = None) -> list[list[dict[str, Any]]]:
    """Lists the documents in each of [k] examples, from the provenance tables of their shards.

    Args:
      dataset: with `provenance/` beside its shards.
      examples: [k] numbers in the split.
      vocabulary: has `decode(ids)`; adds `text`, the tokens of the segment decoded.

    Returns:
      for each example its segments in order: `segment`, `doc_id`, `source`, `doc_token_start`, `length`, `metadata` (the kept fields).

    Raises:
      ConfigError: a vocabulary is given, and the objective did not leave the documents' tokens side by side.
      FileNotFoundError: the dataset has no provenance tables.
    """
    if vocabulary is not None and schema.TOKENS not in dataset.features:
        raise ConfigError(
            f"{dataset.path}: its records hold {', '.join(dataset.features)}, and not the tokens of documents side by side. Leave the text "
            "out; `tokenreel inspect` shows what they hold."
        )
    numbers = np.asarray(examples, dtype=np.int64).reshape(-1)
    shards = dataset.manifest.splits[dataset.split].shards
    out: list[list[dict[str, Any]]] = [[] for _ in numbers]
    # One table for each shard: examples are grouped by shard, so that none is opened twice.
    shard_of = numbers // dataset.records.per_shard
    with dataset.beside():
        for shard in np.unique(shard_of).tolist():
            wanted = numbers[shard_of == shard]
            by_example: dict[int, list[dict[str, Any]]] = {}
            name = naming.provenance(dataset.split, shard, len(shards))
            rows = _read(dataset, name, column=EXAMPLE, values=sorted(set(wanted.tolist())))
            for row in rows.to_pylist():
                metadata = provenance.metadata(row)
                by_example.setdefault(row.pop(EXAMPLE), []).append(row | {"metadata": metadata})
            for place in np.flatnonzero(shard_of == shard).tolist():
                out[place] = [dict(row) for row in sorted(by_example.get(int(numbers[place]), []), key=lambda row: row[SEGMENT])]
    if vocabulary is not None:
        _decode(dataset, numbers, out, vocabulary)
    return out


def _decode(dataset: Examples, numbers: npt.NDArray[np.int64], listed: Sequence[list[dict[str, Any]]], vocabulary: Any) -> None:
    tokens = dataset.stored(numbers, [schema.TOKENS])[schema.TOKENS]
    align = align_of(dataset.manifest)
    for row, segments in enumerate(listed):
        start = 0
        for segment in segments:  # side by side in the example, each filled up to a multiple of `align`
            segment["text"] = vocabulary.decode(tokens[row, start : start + segment[LENGTH]].tolist())
            start += -(-segment[LENGTH] // align) * align


def examples_of(dataset: Examples, doc_id: str) -> list[int]:
    """Finds the examples that hold a document, by its id. Reads the id column of every provenance table, not the shards.

    Raises:
      FileNotFoundError: the dataset has no provenance tables.
    """
    count = len(dataset.manifest.splits[dataset.split].shards)
    found: set[int] = set()
    with dataset.beside():
        for shard in range(count):
            name = naming.provenance(dataset.split, shard, count)
            found.update(_read(dataset, name, [EXAMPLE, DOC_ID], column=DOC_ID, values=[doc_id])[EXAMPLE].to_pylist())
    return sorted(found)


def _read(dataset: Examples, name: str, columns: Sequence[str] | None = None, **rows: Any) -> Any:
    """Reads a provenance table, as `provenance.read`.

    Raises:
      TokenreelError: pyarrow is not installed.
    """
    try:
        return provenance.read(dataset.path, dataset.manifest, name, columns, **rows)
    except ModuleNotFoundError as error:
        raise TokenreelError("the documents of an example stand in Parquet tables, which need pyarrow: pip install pyarrow") from error
