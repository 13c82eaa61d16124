"""Which document each token of a shard came from, as a Parquet table.

Tested in tests/pipelines/test_sources.py and tests/pipelines/test_verify_builds.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.assembly.examples import ExampleChunk
from tokenreel.config.build import JobConfig
from tokenreel.format import provenance
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging.stage_file import StageFile

_GROUP_ROWS = 1 << 20  # of a row group: as many are held


class ProvenanceWriter:
    """Lists the segments of a shard, a row each, sorted by example and place, in the columns of `format.provenance.schema`.

    The same rows give the same bytes, in whatever chunks they come.
    """

    def __init__(self, file: Any, stages: StageTable, config: JobConfig) -> None:
        """Begins a table.

        Args:
          file: is written to.
          stages: the files that the documents were read from.
          config: the settings of the build.
        """
        self._stages, self._config = stages, config
        self._names = sorted({name for source in config.sources for name in source.metadata_fields})
        self._schema = provenance.schema(self._names, repeats=_repeats(config))
        self._writer = make_writer(file, self._schema)
        self._held = self._schema.empty_table()
        self._written = False

    def add(self, chunk: ExampleChunk) -> None:
        """Adds the next examples of the shard, whose arrays are not looked at."""
        import pyarrow as pa

        rows = _chunk_table(chunk, self._stages, self._config, self._names, self._schema)
        self._held = pa.concat_tables([self._held, rows])
        while len(self._held) >= _GROUP_ROWS:
            self._write(self._held[:_GROUP_ROWS])
            self._held = self._held[_GROUP_ROWS:]

    def close(self) -> None:
        """Writes what is left; a shard without segments has a table without rows."""
        if len(self._held) or not self._written:
            self._write(self._held)
        self._writer.close()

    def _write(self, rows: Any) -> None:
        self._writer.write_table(rows, _GROUP_ROWS)
        self._written = True


def make_writer(file: Any, schema: Any) -> Any:
    """Makes the `pyarrow.parquet.ParquetWriter` of a table with this `pyarrow.Schema`."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, schema, compression="zstd", write_statistics=[provenance.EXAMPLE], store_schema=False)


def _repeats(config: JobConfig) -> bool:
    """Says whether any document is taken more than once: only then the tables number the repeats, in the column `copy`."""
    return any(source.epochs > 1 for source in config.sources)


def _chunk_table(chunk: ExampleChunk, stages: StageTable, config: JobConfig, names: Sequence[str], schema: Any) -> Any:
    import pyarrow as pa

    layout = chunk.layout
    used, document = np.unique(layout.document, return_inverse=True)
    ids = np.empty(len(used), dtype=object)
    metadata = np.empty(len(used), dtype=object)
    source = np.empty(len(used), dtype=np.int32)
    for stage, places in _by_stage(chunk.stage[used]):
        info = stages[stage].info
        rows = chunk.row[used[places]]
        source[places] = info.source
        ids[places], metadata[places] = _describe(StageFile(info), rows, int(rows.min()), int(rows.max()) + 1)
    opening = np.searchsorted(layout.example, layout.example)
    dictionary = pa.array([source.name for source in config.sources])
    columns = [
        pa.array(layout.example + chunk.first),
        pa.array((np.arange(len(opening)) - opening).astype(np.int32)),
        pa.DictionaryArray.from_arrays(pa.array(source[document]), dictionary),
        pa.array(map(_unicode, ids), type=pa.string()).take(pa.array(document)),
        pa.array(layout.start),
        pa.array(layout.length.astype(np.int32)),
        pa.array(chunk.number[layout.document]),
        pa.array(chunk.lengths[layout.document]),
    ]
    if _repeats(config):
        columns.append(pa.array(chunk.repeat[layout.document].astype(np.int32)))
    kept = [json.loads(text) if text else {} for text in metadata] if names else []
    columns += [pa.array([_text(fields.get(name)) for fields in kept], type=pa.string()).take(pa.array(document)) for name in names]
    return pa.Table.from_arrays(columns, schema=schema)


def _text(value: Any) -> str | None:
    return None if value is None else _unicode(value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False))


def _unicode(text: str) -> str:
    """Spells out what Unicode has not: halves of surrogate pairs in JSON, and bytes of file names that are no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _by_stage(stage: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yields each stage file of int64 [n] documents, and the int64 places of its documents among them."""
    order = np.argsort(stage, kind="stable")
    bounds = np.flatnonzero(np.diff(stage[order])) + 1
    for places in np.split(order, bounds):
        if len(places):
            yield int(stage[places[0]]), places


def _describe(stage: StageFile, rows: npt.NDArray[np.int64], low: int, high: int) -> tuple[list[str], list[str | None]]:
    """Reads the names and metadata of some documents of a stage file.

    Args:
      stage: the file.
      rows: int64 [n] the documents.
      low: the rows from here on are read at once,
      high: up to this one; all documents lie between.
    """
    info = stage.info
    ids = _strings(stage, "id", rows, low, high) if info.id_bytes else stage.names(low, high, rows - low)
    metadata: list[str | None] = list(_strings(stage, "metadata", rows, low, high)) if info.metadata_bytes else [None] * len(rows)
    return ids, metadata


def _strings(stage: StageFile, name: str, rows: npt.NDArray[np.int64], low: int, high: int) -> list[str]:
    """Reads the texts of the field `name`; see `_describe`."""
    offsets = stage.read(f"{name}_offset", low, high + 1)
    data = stage.read(name, int(offsets[0]), int(offsets[-1])).tobytes()
    bounds = offsets - offsets[0]
    return [data[bounds[row] : bounds[row + 1]].decode() for row in (rows - low).tolist()]
