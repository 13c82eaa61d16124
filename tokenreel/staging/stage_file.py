"""Stage files: the tokens of one part of a block, with what is needed to find, order and trace its documents.

A stage file depends on the text, the vocabulary and the filters only, so that datasets of any packing, order, split or seed are built
from it. Documents lie in the order of their keys: a key is a hash of the document's name, so a range of keys is a random sample of the
corpus and one contiguous range of every stage file. Splits and the groups of a shuffle are ranges of keys.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.hash_tables import HashTable
from tokenreel.errors import BuildError
from tokenreel.format import tfrecord
from tokenreel.sources.documents import Fault
from tokenreel.sources.inputs import Block
from tokenreel.staging.identity import VERSION
from tokenreel.staging.range_cache import headers, indexes
from tokenreel.storage import files

_MAGIC = b"TRSTAGE1"

_ALIGNMENT = 64

_HEAD_BYTES = 1 << 16  # holds almost every header

_LONGEST_HEADER = 1 << 28


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageInfo:
    """What the plan needs to know of a stage file; its size does not depend on the number of documents.

    Attributes:
      path: of the file.
      source: index of the source in the config.
      block: index of the block in the source.
      part: of the block.
      last: whether this is the block's last part.
      body: byte at which the arrays begin.
      documents: kept.
      tokens: in them.
      token_dtype: how they are stored.
      ordered: whether the documents have a value to sort by.
      sentences: in the documents, 0 where they were not cut into sentences.
      offsets: whether it says where each token lies in the text.
      id_bytes: of the documents' names, 0 where the names are `path#position`.
      metadata_bytes: of their kept metadata.
      fault_bytes: of the dead letters.
      dead_letters: documents that could not be read.
      filtered: documents left out, by reason.
      lines_removed: lines and paragraphs taken out of documents, by reason.
      characters_removed: with them.
      modified: documents kept of which something was taken out.
      hashes: distinct texts, where those of documents were hashed; see `tokenreel.curation.duplicates`.
      repeats: documents of a text that the file holds once more.
    """

    path: str
    source: int
    block: int
    part: int
    last: bool
    body: int
    documents: int
    tokens: int
    token_dtype: str
    ordered: bool
    sentences: int
    id_bytes: int
    metadata_bytes: int
    fault_bytes: int
    dead_letters: int
    filtered: Mapping[str, int]
    lines_removed: Mapping[str, int]
    characters_removed: int
    modified: int
    hashes: int
    repeats: int
    offsets: bool = False

    @property
    def sort_key(self) -> tuple[int, int, int]:
        """Sorts stage files as the sources, their files and the text in them lie."""
        return self.source, self.block, self.part

    def _arrays(self) -> Iterator[tuple[str, str, int]]:
        documents = self.documents
        yield "key", "uint64", documents  # sorted
        yield "token_offset", "int64", documents + 1
        yield "position", "int64", documents  # byte in the decompressed file
        yield "characters", "int64", documents
        yield "bytes", "int64", documents
        yield "file", "int32", documents  # index into the header's files
        yield "id_offset", "int64", documents + 1 if self.id_bytes else 0
        yield "id", "uint8", self.id_bytes
        yield "metadata_offset", "int64", documents + 1 if self.metadata_bytes else 0
        yield "metadata", "uint8", self.metadata_bytes
        yield "sort_value", "uint64", documents if self.ordered else 0
        yield "sentence_offset", "int64", documents + 1 if self.sentences else 0
        yield "sentence_length", "int32", self.sentences  # tokens of each
        yield "hash", "uint64", 4 * self.hashes  # sorted; see `tokenreel.curation.hash_tables.HashTable`
        yield "repeat", "int64", self.repeats
        yield "faults", "uint8", self.fault_bytes  # JSON lines
        yield "tokens", self.token_dtype, self.tokens
        yield "token_spans", "int64", self.tokens if self.offsets else 0  # packed as in `tokenreel.format.token_spans`

    def place(self, name: str) -> tuple[int, np.dtype[Any], int]:
        """The byte at which an array begins, its dtype and its length."""
        at = self.body
        for array, dtype, length in self._arrays():
            kind = np.dtype(dtype).newbyteorder("<")
            if array == name:
                return at, kind, length
            at = _align(at + kind.itemsize * length)
        raise KeyError(name)

    @property
    def end(self) -> int:
        """Bytes in the file."""
        ends = [self.body]
        for name, _, length in self._arrays():
            if length:
                at, dtype, _ = self.place(name)
                ends.append(at + dtype.itemsize * length)
        return max(ends)


def _align(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


_INDEX = ("key", "token_offset")  # the first arrays of a file: what tells where the documents of a group lie


class StageFile:
    """Reads ranges of the arrays of one stage file.

    Nothing of the file stays mapped: a group reads a little of every stage file, and their pages would count as the worker's memory.
    """

    def __init__(self, info: StageInfo) -> None:
        self.info = info
        self._local: int | None = None  # descriptor of a local file

    def __del__(self) -> None:
        if self._local is not None:
            os.close(self._local)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Reads elements [start, stop) of an array.

        Raises:
          BuildError: the file is gone, or shorter than it was written.
        """
        at, dtype, length = self.info.place(name)
        count = (length if stop is None else stop) - start
        at += start * dtype.itemsize
        try:
            found = self._read_array(name, at, dtype, count, length)
        except FileNotFoundError as error:
            raise BuildError(self._damaged("is gone")) from error
        if len(found) != count:
            raise BuildError(self._damaged(f"ends before byte {at + count * dtype.itemsize:,}"))
        return found

    def _read_array(self, name: str, at: int, dtype: np.dtype[Any], count: int, length: int) -> npt.NDArray[Any]:
        path = self.info.path
        if not files.is_remote(path):
            return self._read_local(at, dtype, count)
        if name in _INDEX and length:
            begin, end = self.info.body, self.info.place(_INDEX[-1])[0] + 8 * (self.info.documents + 1)
            index = indexes.read(path, begin, end - begin)
            return np.frombuffer(index, dtype=dtype, count=count, offset=at - begin)
        return np.frombuffer(files.read_bytes(path, at, count * dtype.itemsize), dtype=dtype)

    def _read_local(self, at: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        """Reads without a stream of its own for each array, which takes longer than the reading."""
        if self._local is None:
            self._local = os.open(self.info.path, os.O_RDONLY | os.O_CLOEXEC)
        found = np.empty(count, dtype=dtype)
        data = found.view(np.uint8).data
        done = 0
        while done < len(data):
            size = os.preadv(self._local, [data[done:]], at + done)
            if not size:
                return found[: done // dtype.itemsize]
            done += size
        return found

    def _damaged(self, what: str) -> str:
        return (
            f"{self.info.path}: the stage file {what} while shards are made of it. Run the same command again, and let nothing else write "
            "there: its text is tokenized again."
        )

    def header(self) -> dict[str, Any]:
        """Names of files, lines in each, and what identifies the input."""
        head = json.loads(headers.read(self.info.path, len(_MAGIC) + 8, self.info.body - len(_MAGIC) - 8).rstrip(b"\0"))
        assert isinstance(head, dict)
        return head

    def documents_between(self, low: int, high: int) -> tuple[int, int]:
        """The range of documents whose keys lie in [low, high)."""
        if files.is_remote(self.info.path):
            return _search(self.read("key"), low, high)
        at, dtype, length = self.info.place("key")
        try:
            return _search(np.memmap(self.info.path, dtype=dtype, mode="r", offset=at, shape=length), low, high) if length else (0, 0)
        except (FileNotFoundError, ValueError) as error:
            raise BuildError(self._damaged("is gone" if isinstance(error, OSError) else "is cut short")) from error


def _search(key: npt.NDArray[np.uint64], low: int, high: int) -> tuple[int, int]:
    first, last = (len(key) if bound >= 1 << 64 else int(np.searchsorted(key, np.uint64(bound))) for bound in (low, high))
    return first, last


def write(
    path: str,
    block: Block,
    part: int,
    last: bool,
    cleaned: Cleaned,
    arrays: Mapping[str, npt.NDArray[Any]],
    token_dtype: str,
    about: Mapping[str, Any] | None = None,
) -> StageInfo:
    """Writes a stage file; it appears complete or not at all. `about` is what `describe` gives."""
    documents = cleaned.documents
    faults = "".join(json.dumps(dataclasses.asdict(fault), ensure_ascii=True) + "\n" for fault in documents.faults).encode()
    content = dict(arrays)
    content["faults"] = np.frombuffer(faults, dtype=np.uint8)
    info = StageInfo(
        path=path,
        source=block.source,
        block=block.index,
        part=part,
        last=last,
        body=0,
        documents=len(arrays["key"]),
        tokens=len(arrays["tokens"]),
        token_dtype=token_dtype,
        ordered="sort_value" in arrays,
        sentences=len(arrays.get("sentence_length", ())),
        id_bytes=len(arrays.get("id", ())),
        metadata_bytes=len(arrays.get("metadata", ())),
        fault_bytes=len(faults),
        dead_letters=len(documents.faults),
        filtered=cleaned.left_out(),
        lines_removed=dict(sorted(cleaned.lines.items())),
        characters_removed=cleaned.characters,
        modified=int(np.count_nonzero(cleaned.modified & (cleaned.reasons == 0))),
        hashes=len(arrays.get("hash", ())) // 4,
        repeats=len(arrays.get("repeat", ())),
        offsets="token_spans" in arrays,
    )
    body = bytearray()
    for name, dtype, length in info._arrays():
        if length:
            body += bytes(_align(len(body)) - len(body))
            body += np.ascontiguousarray(content[name], dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
    fields = {name: value for name, value in dataclasses.asdict(info).items() if name not in ("path", "source", "block", "body")}
    fields |= {"files": documents.files, "lines": documents.lines, "about": dict(about or {}), "bytes": len(body), "version": VERSION}
    fields["crc32c"] = tfrecord.crc32c(bytes(body))
    header = json.dumps({**fields, "header_crc32c": _checksum(fields)}, ensure_ascii=True).encode()
    start = _align(len(_MAGIC) + 8 + len(header))
    with files.write_atomic(path) as file:
        file.write((_MAGIC + struct.pack("<Q", start) + header).ljust(start, b"\0"))
        file.write(body)
    return dataclasses.replace(info, body=start)


def read_header(path: str, head: bytes | None = None) -> tuple[dict[str, Any], int] | None:
    """The header of a stage file, and where its arrays begin; None if there is no such file or it is none.

    Args:
      path: of the file.
      head: its first bytes, or all, where they were read already.
    """
    try:
        data = files.read_bytes(path, 0, _HEAD_BYTES) if head is None else head
        if data[: len(_MAGIC)] != _MAGIC or len(data) < len(_MAGIC) + 8:
            return None
        (body,) = struct.unpack_from("<Q", data, len(_MAGIC))
        if len(data) < body <= _LONGEST_HEADER:
            data += files.read_bytes(path, len(data), body - len(data))
        header = json.loads(data[len(_MAGIC) + 8 : body].rstrip(b"\0"))
        if header.pop("header_crc32c") != _checksum(header):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return header, body


def _checksum(header: Mapping[str, Any]) -> int:
    return tfrecord.crc32c(json.dumps(header, sort_keys=True).encode())


def reopen(path: str, block: Block) -> StageInfo | None:
    """Finds a stage file that an earlier build finished; None if there is none or its bytes are not what was written."""
    size = files.size(path)
    if size is None:
        return None
    # An object is complete and its bytes are the service's care, so its header is enough.
    data = files.read_bytes(path, 0, _HEAD_BYTES if files.is_remote(path) else None)
    found = read_header(path, data)
    if found is None:
        return None
    header, body = found
    names = {field.name for field in dataclasses.fields(StageInfo)}
    try:
        fields = {name: value for name, value in header.items() if name in names}
        info = StageInfo(path=path, source=block.source, block=block.index, body=body, **fields)
        sound = info.end == size if files.is_remote(path) else tfrecord.crc32c(data[body:]) == header["crc32c"]
    except (KeyError, TypeError):  # of another version
        return None
    if sound:
        files.touch(path)
    return info if sound else None


def hash_table(info: StageInfo) -> HashTable:
    """Where the hashes of the documents' texts lie."""
    begin, repeats = info.place("hash")[0], info.place("repeat")[0]
    return HashTable(path=info.path, begin=begin, entries=info.hashes, repeats=info.repeats, repeats_begin=repeats)


def read_faults(info: StageInfo) -> list[Fault]:
    """The dead letters of a stage file."""
    return [Fault(**json.loads(line)) for line in StageFile(info).read("faults").tobytes().splitlines()]
