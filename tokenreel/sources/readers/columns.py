"""Arrow record batches to rows: the text column's buffers as they are, Python values only for the few fields that are kept.

Tested in tests/tokenreel/sources/readers/test_parquet.py and tests/tokenreel/sources/readers/test_arrow.py.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.composed_text import compose
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.readers.rows import BROKEN_FILE, Problem, Rows
from tokenreel.sources.readers.unreadable import errors, first_line
from tokenreel.sources.values import BadDocument, encode_text


def wanted(source: SourceConfig) -> list[str]:
    """Names the columns that a source reads, that of the text first."""
    return list(dict.fromkeys((*source.text_fields, *source.other_fields)))


def requested(schema: Any, source: SourceConfig) -> list[str]:
    """Names the columns to ask a Parquet reader for. Of a nested one that holds nothing but nulls only the outer one exists."""
    import pyarrow as pa

    found = []
    for name in wanted(source):
        nested = schema.get_field_index(name) < 0
        parts = name.split(".")
        prefixes = [".".join(parts[:count]) for count in range(1, len(parts))] if nested else []
        found.append(next((prefix for prefix in prefixes if _find(schema, prefix) == pa.null()), name))
    return found


def check(schema: Any, source: SourceConfig, file: InputFile) -> None:
    """Refuses a file without the columns that the source reads.

    Raises:
      SourceError: a column is missing, or the text column holds no text.
      UnicodeDecodeError: the name of a column is not UTF-8.
    """
    for name in wanted(source):
        if schema.names.count(name) > 1:
            raise SourceError(
                f"{file.path}: has {schema.names.count(name)} columns {name!r} (source {source.name!r}), which cannot be told apart. "
                "Write the file again with names that differ, or set text_field, id_field, order_field and metadata_fields to others."
            )
        if _find(schema, name) is None:
            raise SourceError(
                f"{file.path}: has no column {name!r} (source {source.name!r}); its columns are {', '.join(map(repr, schema.names))}. "
                "Set text_field, id_field, order_field and metadata_fields to names of columns; `a.b` reaches into a nested one.",
                missing=name,
                fields=schema.names,
            )
    if source.id_field is not None and not _is_id(kind := _find(schema, source.id_field)):
        raise SourceError(
            f"{file.path}: the column {source.id_field!r} (source {source.name!r}) holds {kind}; only text, numbers, UUIDs and bytes name "
            "documents. Set id_field to another column, or leave it out: documents are then named by their place."
        )
    kind = _find(schema, source.text_field) if source.plain_text_field is not None else None
    if kind is not None and not _is_text(kind):
        raise SourceError(
            f"{file.path}: the column {source.text_field!r} (source {source.name!r}) holds {kind}, not text. Set text_field to another, or "
            "joiner or messages_field where it holds a list of strings or a chat; "
            f"the columns are {', '.join(map(repr, schema.names))}.",
            fields=schema.names,
        )


def _find(schema: Any, path: str) -> Any:
    """Finds the type of a column, or None; a column of that very name comes before a nested one."""
    import pyarrow as pa

    place = schema.get_field_index(path)
    if place >= 0:
        return schema.field(place).type
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        place = schema.get_field_index(".".join(parts[:count]))
        if place >= 0 and pa.types.is_null(schema.field(place).type):
            return pa.null()  # what a writer makes of a nested column without any value
        if place >= 0 and pa.types.is_struct(schema.field(place).type):
            return _find(pa.schema(list(schema.field(place).type)), ".".join(parts[count:]))
    return None


def _pick(batch: Any, path: str) -> Any:
    """Takes a column of a batch; a nested value is null where what it lies in is.

    Raises:
      KeyError: there is no such column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    place = batch.schema.get_field_index(path)
    if place >= 0:
        return batch.column(place)
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        place = batch.schema.get_field_index(".".join(parts[:count]))
        if place >= 0:
            column = batch.column(place)
            rest = ".".join(parts[count:])
            while rest and not pa.types.is_null(column.type):
                kind = column.type
                name = rest if kind.get_field_index(rest) >= 0 else rest.split(".")[0]
                column = pc.struct_field(column, [kind.get_field_index(name)])
                rest = rest[len(name) + 1 :]
            return column
    raise KeyError(path)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
        types.is_null,
    )
    return any(test(kind) for test in tests)


def _is_id(kind: Any) -> bool:
    """Tells whether values of a type may name documents; what they hold is looked at one by one."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    kind = getattr(kind, "storage_type", kind)  # of extension types, such as UUID
    others = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind)
    return others or _is_text(kind)


def validate(batch: Any, source: SourceConfig) -> None:
    """Checks a batch as a file has it before anything is read of it: Arrow follows lengths, offsets and indices wherever they point.

    Raises:
      Exception: one of `errors()`.
    """
    batch.validate()  # the lengths of buffers, before anything picks out of them
    for name in wanted(source):
        if name != source.plain_text_field:
            _pick(batch, name).validate(full=True)
    if source.plain_text_field is not None:
        _validate_text(_pick(batch, source.plain_text_field))


def _validate_text(column: Any) -> None:
    """Checks all of a text column but whether it is UTF-8, which concerns single documents."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        _validate_text(column.dictionary)
        pa.DictionaryArray.from_arrays(column.indices, column.dictionary)  # checks the indices
        return
    bytes_of = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    column.view(bytes_of.get(column.type, column.type)).validate(full=True)


def rows(batch: Any, file: InputFile, source: SourceConfig, first_row: int) -> Rows:
    """Makes rows of a record batch. Rows without text are problems; a batch that cannot be read is one problem for all its rows.

    Args:
      batch: a `pyarrow.RecordBatch` with the wanted columns, made by a decoder or checked by `validate`.
      file: where it was read.
      source: names the fields.
      first_row: number of its first row in the file; positions are row numbers.
    """
    try:
        if source.plain_text_field is None:
            text, offsets, present, problems, more = _compose(batch, source, first_row)
        else:
            text, offsets, present = _buffers(_as_binary(_pick(batch, source.plain_text_field)))
            message = f"the column {source.text_field!r} is null in row"
            missing = np.flatnonzero(~present)
            told = missing[: source.dead_letters_kept].tolist()
            problems = [Problem(first_row + row, row, "no_text", f"{message} {first_row + row:,}") for row in told]
            more = Counter({"no_text": len(missing) - len(told)})
        ids = None if source.id_field is None else _values(_pick(batch, source.id_field))
        sort_values = None if source.order_field is None else _values(_sortable(_pick(batch, source.order_field)))
        kept = [_values(_readable(_pick(batch, name))) for name in source.metadata_fields]
    except errors() as error:
        message = unreadable(first_row, batch.num_rows, error)
        nothing = np.zeros(0, dtype=np.int64)
        empty = np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
        problem = Problem(first_row, 0, BROKEN_FILE, message, size=batch.num_rows)
        return Rows(file, nothing, nothing, *empty, [], [], [], [problem], batch.num_rows)
    places = np.flatnonzero(present)
    metadata = None
    if source.metadata_fields:
        metadata = [dict(zip(source.metadata_fields, values, strict=True)) for values in _at(list(zip(*kept, strict=True)), places)]
    return Rows(
        file=file,
        positions=places + first_row,
        lines=places,
        text=text,
        offsets=offsets,
        ids=None if ids is None else _at(ids, places),
        sort_values=None if sort_values is None else _at(sort_values, places),
        metadata=metadata,
        problems=problems,
        total_lines=batch.num_rows,
        more={reason: (count, count) for reason, count in more.items() if count},
    )


def _compose(
    batch: Any, source: SourceConfig, first_row: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_], list[Problem], Counter[str]]:
    """Makes the text of each row of several values.

    Returns:
      the texts end to end, their bounds, [n] bool that is true for rows with a text, the first of the others, and how many more there are.
    """
    values = {name: _values(_readable(_pick(batch, name))) for name in source.text_fields}
    texts: list[bytes] = []
    problems = []
    present = np.ones(batch.num_rows, dtype=bool)
    told, more = Counter[str](), Counter[str]()
    for row in range(batch.num_rows):
        try:
            texts.append(encode_text(compose(lambda name, row=row: values[name][row], source)))  # type: ignore[misc]
        except BadDocument as bad:
            present[row] = False
            if told[bad.reason] == source.dead_letters_kept:
                more[bad.reason] += 1
            else:
                told[bad.reason] += 1
                problems.append(Problem(first_row + row, row, bad.reason, f"{bad.message} in row {first_row + row:,}"))
    return (
        np.frombuffer(b"".join(texts), dtype=np.uint8),
        ragged.offsets_of(np.array([len(text) for text in texts], dtype=np.int64)),
        present,
        problems,
        more,
    )


def unreadable(first_row: int, count: int, error: BaseException) -> str:
    """Says of rows why they cannot be read."""
    return f"rows {first_row:,} to {first_row + count - 1:,} cannot be read: {first_line(error)}. Fetch the file again."


def _at(values: list[Any], places: npt.NDArray[np.int64]) -> list[Any]:
    return values if len(places) == len(values) else [values[place] for place in places.tolist()]


def _as_binary(column: Any) -> Any:
    """Gives the text column as binary of 32 or 64 bit offsets; a view unless it is stored another way."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(column.type):
        # By way of bytes: Arrow takes nothing out of dictionaries of views.
        column = pa.DictionaryArray.from_arrays(column.indices, _as_binary(column.dictionary), safe=False).dictionary_decode()
    if types.is_string(column.type) or types.is_binary(column.type):
        return column.view(pa.binary())
    if types.is_large_string(column.type) or types.is_large_binary(column.type):
        return column.view(pa.large_binary())
    return column.cast(pa.large_binary())  # views, and the type of nothing but nulls


def _buffers(column: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Takes the buffers of a binary column of n values.

    Returns:
      [num_bytes] uint8 bytes of the m values that are not null, their [m + 1] int64 bounds, and [n] bool, true where a value is not null.
    """
    import pyarrow as pa

    present = np.ones(len(column), dtype=bool)
    if column.null_count:
        present = column.is_valid().to_numpy(zero_copy_only=False)
        column = column.drop_null()
    if not len(column):
        return np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64), present
    _, bounds, data = column.buffers()
    dtype = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    offsets = np.frombuffer(bounds, dtype=dtype)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    everything = np.zeros(0, dtype=np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
    return everything[offsets[0] : offsets[-1]], offsets - offsets[0], present


def _values(column: Any) -> list[Any]:
    values = column.to_pylist()
    assert isinstance(values, list)
    return values


def _sortable(column: Any) -> Any:
    """Times as numbers, in the unit of the column; exact decimals as near as floats come."""
    import pyarrow as pa

    if pa.types.is_decimal(column.type):
        return column.cast(pa.float64())
    if pa.types.is_date32(column.type) or pa.types.is_time32(column.type):
        return column.view(pa.int32())
    return column.view(pa.int64()) if pa.types.is_temporal(column.type) else column


def _readable(column: Any) -> Any:
    """Times and decimals as text: JSON has neither, and Python cannot hold nanoseconds."""
    import pyarrow as pa

    if (pa.types.is_temporal(column.type) and not pa.types.is_interval(column.type)) or pa.types.is_decimal(column.type):
        return column.cast(pa.string())
    return column
