"""Which document each token of a shard came from, as a Parquet table.

Tested in tests/pipelines/test_sources.py and tests/pipelines/test_verify_builds.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.assembly import document_fields
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
    ids = [pa.array([], type=pa.string())]  # those of one stage file behind those of another
    id_of = np.empty(len(used), dtype=np.int64)
    source = np.empty(len(used), dtype=np.int32)
    listed = 0
    for stage, places in document_fields.by_stage(chunk.stage[used]):
        info = stages[stage].info
        rows = chunk.row[used[places]]
        low, high = int(rows.min()), int(rows.max()) + 1
        source[places] = info.source
        ids.append(_ids(StageFile(info), rows, low, high))
        id_of[places] = np.arange(listed, listed := listed + len(places))
    opening = np.searchsorted(layout.example, layout.example)
    dictionary = pa.array([source.name for source in config.sources])
    columns = [
        pa.array(layout.example + chunk.first),
        pa.array((np.arange(len(opening)) - opening).astype(np.int32)),
        pa.DictionaryArray.from_arrays(pa.array(source[document]), dictionary),
        pa.concat_arrays(ids).take(pa.array(id_of[document])),
        pa.array(layout.start),
        pa.array(layout.length.astype(np.int32)),
        pa.array(chunk.number[layout.document]),
        pa.array(chunk.lengths[layout.document]),
    ]
    if _repeats(config):
        columns.append(pa.array(chunk.repeat[layout.document].astype(np.int32)))
    kept = document_fields.read(stages, chunk.stage[used], chunk.row[used]) if names else []
    columns += [pa.array([_text(fields.get(name)) for fields in kept], type=pa.string()).take(pa.array(document)) for name in names]
    return pa.Table.from_arrays(columns, schema=schema)


def _text(value: Any) -> str | None:
    return None if value is None else _unicode(value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False))


def _unicode(text: str) -> str:
    """Spells out what Unicode has not: halves of surrogate pairs in JSON, and bytes of file names that are no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _ids(stage: StageFile, rows: npt.NDArray[np.int64], low: int, high: int) -> Any:
    """Reads the names of some documents of a stage file, none of them as an object of Python.

    Args:
      stage: the file.
      rows: int64 [n] the documents.
      low: the rows from here on are read at once,
      high: up to this one; all documents lie between.

    Returns:
      a `pyarrow.StringArray`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    at = pa.array(rows - low)
    if stage.info.id_bytes:
        offsets, data = document_fields.strings(stage, "id", low, high)
        return pa.LargeStringArray.from_buffers(high - low, pa.py_buffer(offsets), pa.py_buffer(data)).take(at).cast(pa.string())
    files = pa.array([_unicode(name) for name in stage.header()["files"]], type=pa.string())
    positions = pa.array(stage.read("position", low, high)).take(at).cast(pa.string())
    return pc.binary_join_element_wise(files.take(pa.array(stage.read("file", low, high)).take(at)), positions, "#")
