"""Stage files: the tokens of one part of a block, with what is needed to find, sort and trace its documents.

A stage file depends on the text, the vocabulary and the filters only, so that datasets of any packing, order, split or seed are built
from it. Documents lie in the order of their keys: a key is a hash of the document's name, so a range of keys is a random sample of the
corpus and one contiguous range of every stage file. Splits and the groups of a shuffle are ranges of keys.

    | b"TRSTAGE1" | body: uint64 | header: JSON, padded with zeros | columns, each at a multiple of 64 bytes | CRCs of chunks |
                                                                   ^ byte `body`
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.hash_tables import HashTable
from tokenreel.errors import BuildError
from tokenreel.format import tfrecord
from tokenreel.sources import fault_log, file_counts
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.file_counts import FileCounts
from tokenreel.sources.inputs import Block
from tokenreel.staging import range_cache
from tokenreel.staging.columns import INDEX, Columns, StageInfo, lay_out
from tokenreel.staging.identity import VERSION
from tokenreel.staging.range_cache import headers, indexes, tables
from tokenreel.storage import chunks, crc32c, files
from tokenreel.storage.chunks import Covered
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import align

_MAGIC = b"TRSTAGE1"
_PREFIX_BYTES = len(_MAGIC) + 8  # in front of the header: the magic word, and where the columns begin
_HEAD_BYTES = 1 << 16  # holds almost every header, so that one request to a bucket is enough
_ATTEMPTS = 3  # to read a header: what is damaged on its way is well the next time
_WHOLE_INDEX_BYTES = 3 << 20  # the largest index of an object that is read as a whole; of such ones 64 are kept at least
_LONGEST_HEADER = 1 << 28  # a damaged file may claim any length
_REQUIRED = [field.name for field in dataclasses.fields(Columns) if field.default is dataclasses.MISSING]
_NOT_IN_HEADERS = ("path", "source", "block", "body", "outer_files")  # where the file lies, and what follows from the rest


def write(
    path: str,
    block: Block,
    part: int,
    last: bool,
    cleaned: Cleaned,
    columns: Columns,
    token_dtype: str,
    about: Mapping[str, Any] | None = None,
) -> StageInfo:
    """Writes a stage file; it appears complete or not at all. The same arguments give the same bytes.

    Args:
      path: the file to write.
      block: the block that was read.
      part: index of the part in the block.
      last: whether this is the block's last part.
      cleaned: the documents of the part, and why some were left out.
      columns: the columns of the documents that stay, as `encoding.encode` gives them.
      token_dtype: stores the tokens; holds every id of the vocabulary.
      about: what `identity.describe` gives.
    """
    documents = cleaned.documents
    info = StageInfo(
        path=path,
        source=block.source,
        block=block.index,
        part=part,
        last=last,
        body=0,
        token_dtype=token_dtype,
        dead_letters=documents.num_dead_letters,
        filtered=cleaned.left_out(),
        lines_removed=dict(sorted(cleaned.lines.items())),
        characters_removed=cleaned.characters,
        modified=int(np.count_nonzero(cleaned.modified & (cleaned.reasons == 0))),
        bound=documents.bound,
        **columns.counts(),
    )
    facts: dict[str, Any] = {"files": documents.files, "lines": documents.lines, "about": dict(about or {})}
    facts |= {"stored": documents.stored, "extents": [(file, *extent) for file, extent in documents.extents]}
    return write_columns(info, columns, facts | file_counts.to_header(file_counts.of_documents(documents)))


def write_faults(folder: Folder, name: str, block: Block, part: int, counts: Sequence[FileCounts], faults: Sequence[Fault]) -> StageInfo:
    """Writes a stage file that holds nothing but dead letters, where there are any; else all of it is in what is returned.

    Args:
      folder: where to write it.
      name: of the file.
      block: the block that was read.
      part: index of the part in the block.
      counts: what it gave of each of its files.
      faults: the first dead letters of each reason.
    """
    header = file_counts.to_header(counts)
    empty: dict[str, npt.NDArray[Any]] = dict.fromkeys(_REQUIRED, np.zeros(0, dtype=np.int64))
    empty |= {"token_offset": np.zeros(1, dtype=np.int64), "faults": np.frombuffer(fault_log.to_lines(faults), dtype=np.uint8)}
    columns = Columns(**empty)
    info = StageInfo(
        path="",
        source=block.source,
        block=block.index,
        part=part,
        last=False,
        body=0,
        token_dtype="uint16",
        dead_letters=sum(sum(each.dead_letters.values()) for each in counts),
        filtered={},
        lines_removed={},
        characters_removed=0,
        modified=0,
        outer_files=file_counts.outer(header),
        **columns.counts(),
    )
    if info.outer_files:
        return info
    info = dataclasses.replace(info, path=files.join(folder.ready(), name))
    return write_columns(info, columns, {**header, "stored": [], "extents": [], "about": {}})


def write_columns(info: StageInfo, columns: Columns, facts: Mapping[str, Any]) -> StageInfo:
    """Writes a stage file, and holds no second copy of its columns.

    Args:
      info: what the file holds, and where it will lie.
      columns: all of it.
      facts: what its header tells beside `info`.
    """
    body = list(chunks.cover(lay_out(columns, info)))
    crc = size = 0
    for part in body:
        crc, size = tfrecord.extend_crc32c(crc, part), size + len(part)
    fields = {name: value for name, value in dataclasses.asdict(info).items() if name not in _NOT_IN_HEADERS}
    for name in ("ranges", "bound"):
        if not fields[name]:
            del fields[name]  # as before there were merged files, and parts that end because of their documents
    fields |= {**facts, "bytes": size, "version": VERSION, "crc32c": crc}
    header = json.dumps({**fields, "header_crc32c": _checksum(fields)}, ensure_ascii=True).encode()
    start = align(_PREFIX_BYTES + len(header))
    range_cache.forget(info.path)
    with files.write_atomic(info.path) as file:
        file.write((_MAGIC + struct.pack("<Q", start) + header).ljust(start, b"\0"))
        for part in body:
            file.write(part)
    return dataclasses.replace(info, body=start, outer_files=file_counts.outer(facts))


def reopen(path: str, block: Block) -> StageInfo | None:
    """Finds a stage file that an earlier build finished, and notes that it was used today.

    Returns:
      What the file holds; None if there is no file, or its bytes are not what was written.
    """
    return find(path, block.source, block.index)


def find(path: str, source: int, block: int) -> StageInfo | None:
    """Finds a stage file as `reopen` does, by the numbers that it is given: of a merged file that of its strand."""
    known = files.checksum(path)  # of an object, the service knows its CRC
    if known is None:
        return None
    data = files.read_bytes(path, 0, _HEAD_BYTES)
    found = read_header(path, data)
    if found is None:
        return None
    header, body = found
    names = {field.name for field in dataclasses.fields(StageInfo)}
    try:
        fields = {name: value for name, value in header.items() if name in names}
        info = StageInfo(path=path, source=source, block=block, body=body, outer_files=file_counts.outer(header), **fields)
        header["extents"]  # of an older build there are none: its text is read again
        head = data[:body] if body <= len(data) else files.read_bytes(path, 0, body)
        sound = known == (info.end, crc32c.combine(tfrecord.crc32c(head), header["crc32c"], header["bytes"]))
    except (KeyError, TypeError):  # of another version
        return None
    if sound:
        files.touch(path)
    return info if sound else None


def read_header(path: str, head: bytes | None = None) -> tuple[dict[str, Any], int] | None:
    """Reads the header of a stage file.

    Args:
      path: the file.
      head: its first bytes, or all, where they were read already.

    Returns:
      The header, and the byte at which the columns begin; None if there is no such file, or its header is damaged.
    """
    try:
        data = files.read_bytes(path, 0, _HEAD_BYTES) if head is None else head
        if data[: len(_MAGIC)] != _MAGIC or len(data) < _PREFIX_BYTES:
            return None
        (body,) = struct.unpack_from("<Q", data, len(_MAGIC))
        if len(data) < body <= _LONGEST_HEADER:
            data += files.read_bytes(path, len(data), body - len(data))
        header = json.loads(data[_PREFIX_BYTES:body].rstrip(b"\0"))
        if header.pop("header_crc32c") != _checksum(header):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # JSON that is no object, or not as it was written
        return None
    return header, body


def _checksum(header: Mapping[str, Any]) -> int:
    return tfrecord.crc32c(json.dumps(header, sort_keys=True).encode())


def hash_table(info: StageInfo) -> HashTable:
    """Says where the hashes of the documents' texts lie."""
    return HashTable(
        path=info.path,
        begin=info.place("hash")[0],
        covered_begin=info.covered.begin,
        covered_end=info.covered.end,
        entries=info.hashes,
        duplicates=info.repeats,
        duplicates_begin=info.place("duplicate_row")[0],
    )


def read_faults(info: StageInfo) -> list[Fault]:
    """Reads the dead letters of a stage file: of each reason the first, in the order of the text.

    Raises:
      BuildError: the file is gone, or shorter than it was written.
    """
    return fault_log.from_lines(StageFile(info).read("faults").tobytes())


class StageFile:
    """Reads ranges of the columns of one stage file.

    Nothing of the file stays mapped: a group reads a little of every stage file, and their pages would count as the worker's memory.
    """

    def __init__(self, info: StageInfo) -> None:
        self.info = info
        self._local: int | None = None  # descriptor of a local file

    def __del__(self) -> None:
        if self._local is not None:
            os.close(self._local)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Reads elements [start, stop) of a column; without `stop` to its end.

        Returns:
          [stop - start] elements in the dtype that the file stores.

        Raises:
          KeyError: stage files have no such column.
          BuildError: the file is gone, or shorter than it was written.
        """
        at, dtype, length = self.info.place(name)
        count = (length if stop is None else stop) - start
        if count <= 0:
            return np.empty(0, dtype=dtype)
        path, covered = self.info.path, self._covered
        at, size = at + start * dtype.itemsize, count * dtype.itemsize
        try:
            if not files.is_remote(path):
                data = covered.read(path, at, size, self._fetch)
            elif self._is_small:
                data = memoryview(self._whole())[at : at + size]
            elif name in INDEX and self._keeps_index:  # every group of a shuffle asks for these
                begin, end = self.info.index_range
                index = indexes.read(path, begin, end - begin, self._read_object)
                data = memoryview(index)[at - begin : at - begin + size]
            else:
                data = memoryview(self._read_object(at, size))
        except FileNotFoundError as error:
            raise BuildError(self._damaged("is gone")) from error
        return np.frombuffer(data, dtype=dtype)

    @functools.cached_property
    def _covered(self) -> Covered:
        """Which bytes have CRCs: laid out once, as the reads of a group are many and small."""
        return self.info.covered

    @property
    def _keeps_index(self) -> bool:
        """Says whether the index of an object is read as a whole: else a range of it, found by what keys are, is far less."""
        begin, end = self.info.index_range
        return end - begin <= _WHOLE_INDEX_BYTES

    @property
    def _is_small(self) -> bool:
        """Says whether this is an object of which every read would fetch nearly all."""
        return files.is_remote(self.info.path) and self._covered.file_bytes <= chunks.CHUNK_BYTES

    def _whole(self) -> bytes:
        """Gives all bytes of a small object, header included, in one request for all its readers in this process."""
        return indexes.read(self.info.path, 0, self._covered.file_bytes, self._read_whole)

    def _read_whole(self, begin: int, size: int) -> bytes:
        """Reads a small object, and checks its columns."""
        covered, path, data = self._covered, self.info.path, b""

        def fetch(at: int, count: int) -> bytes:
            nonlocal data
            if at == covered.begin:  # else the CRCs, which follow
                data = files.read_bytes(path, begin, size)
            return data[at : at + count]

        covered.read(path, covered.begin, covered.end - covered.begin, fetch)
        return data

    def _read_object(self, at: int, size: int) -> bytes:
        """Reads and checks a range of an object."""
        covered, path = self._covered, self.info.path
        place, table_bytes = covered.table
        table = tables.read(path, place, table_bytes, lambda begin, count: files.read_bytes(path, begin, count))
        try:
            return bytes(covered.read(path, at, size, lambda begin, count: files.read_bytes(path, begin, count), table))
        except BuildError:
            tables.forget(path)  # which may be what was damaged on its way
            return bytes(covered.read(path, at, size, lambda begin, count: files.read_bytes(path, begin, count)))

    def _fetch(self, at: int, size: int) -> bytes:
        """Reads with one descriptor for all reads: to open the file for each would take longer than the reading."""
        if self._local is None:
            self._local = os.open(self.info.path, os.O_RDONLY | os.O_CLOEXEC)
        parts = []
        while size > 0 and (data := os.pread(self._local, size, at)):
            parts.append(data)
            at, size = at + len(data), size - len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _damaged(self, what: str) -> str:
        return (
            f"{self.info.path}: the stage file {what} while shards are made of it. Run the same command again, and let nothing else write "
            "there: its text is tokenized again."
        )

    def header(self) -> dict[str, Any]:
        """Reads the header: the names of the files that the documents are from, the lines in each, and how the stage file was made.

        Raises:
          BuildError: the file is gone or damaged.
        """
        try:
            data = headers.read(self.info.path, 0, self.info.body, self._read_head)
        except FileNotFoundError as error:
            raise BuildError(self._damaged("is gone")) from error
        head = json.loads(data[_PREFIX_BYTES:].rstrip(b"\0"))
        assert isinstance(head, dict)
        return head

    def in_text_order(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Lists the rows [first, last), which lie by key, as the text has them, by file and position: int64 [n], counted from `first`."""
        return np.lexsort((self.read("position", first, last), self.read("file", first, last)))

    def sorted_between(self, low: int, high: int) -> tuple[int, int, npt.NDArray[np.uint64]]:
        """Finds the documents of a merged file that is sorted by their sort values which lie in [low, high).

        Returns:
          the first row, the row behind the last one, and the uint64 values of these rows.
        """
        values = self.read("sort_value")
        first, last = _find(values, low), _find(values, high)
        return first, last, values[first:last]

    def names(self, first: int, last: int, picked: npt.NDArray[np.int64] | None = None) -> list[str]:
        """Gives what documents are called that have no id: by file and position.

        Args:
          first: the first row.
          last: the row behind the last one.
          picked: int64 [n] which of these rows, counted from `first`; None for all.
        """
        names, columns = self.header()["files"], [self.read(name, first, last) for name in ("file", "position")]
        file, position = (values if picked is None else values[picked] for values in columns)
        return [f"{names[index]}#{place}" for index, place in zip(file.tolist(), position.tolist(), strict=True)]

    def _read_head(self, begin: int, size: int) -> bytes:
        """Reads the file up to its columns, and checks the header."""
        path = self.info.path
        for _ in range(_ATTEMPTS):
            data = self._whole()[begin : begin + size] if self._is_small else files.read_bytes(path, begin, size)
            if read_header(path, data) is not None:
                return data
            indexes.forget(path)
        raise BuildError(self._damaged("is damaged"))

    def documents_between(self, low: int, high: int) -> tuple[int, int]:
        """Finds the documents whose keys lie in [low, high): the index of the first, and of the one behind the last.

        Raises:
          BuildError: the file is gone, or shorter than it was written.
        """
        if files.is_remote(self.info.path) and self._keeps_index:
            key = self.read("key")
            return _find(key, low), _find(key, high)
        return self._search(low), self._search(high)

    def _search(self, bound: int) -> int:
        """Counts the keys below a bound, up to 2**64: reads those around the place where it should be, and all if it is not there."""
        count, (low, high) = self.info.documents, self.info.key_range
        if not low < bound < high:
            return 0 if bound <= low else count
        # The number of hashes below a bound is binomial, with a standard deviation of at most sqrt(count) / 2: this is 8 of them.
        # Quantiles in the header would save nothing: of 28,000 keys 1,300 are read, and all of them only where 3 % of the documents or more
        # have one and the same name.
        spread, place = 4 * math.isqrt(count) + 8, count * (bound - low) // (high - low)
        first, last = max(0, place - spread), min(count, place + spread)
        key = self.read("key", first, last)
        if (first and int(key[0]) >= bound) or (last < count and int(key[-1]) < bound):  # names that somebody made to collide
            first, key = 0, self.read("key")
        return first + _find(key, bound)


def _find(key: npt.NDArray[np.uint64], bound: int) -> int:
    """Counts those of [n] ascending keys or sort values that are below a bound; 2**64 is beyond all of them, and no uint64."""
    return len(key) if bound >= 1 << 64 else int(np.searchsorted(key, np.uint64(bound)))
