"""Stage files: the tokens of one part of a block, with what is needed to find, order and trace its documents.

A stage file depends on the text, the vocabulary and the filters only, so that datasets of any packing, order, split or seed are built
from it. Documents lie in the order of their keys: a key is a hash of the document's name, so a range of keys is a random sample of the
corpus and one contiguous range of every stage file. Splits and the groups of a shuffle are ranges of keys.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import FilterConfig, SourceConfig
from tokenreel.curation import hash_tables
from tokenreel.curation.cleaned import CODES, Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.curation.hash_tables import HashTable
from tokenreel.curation.sentences import split as split_sentences
from tokenreel.errors import BuildError
from tokenreel.format import tfrecord, token_spans
from tokenreel.format.token_spans import characters_per_document
from tokenreel.sources.documents import Fault
from tokenreel.sources.inputs import Block
from tokenreel.storage import files

VERSION = "stage-1"

_MAGIC = b"TRSTAGE1"

_ALIGNMENT = 64

_HEAD_BYTES = 1 << 16  # holds almost every header

_LONGEST_HEADER = 1 << 28

_INDEX_BYTES = 128 << 20  # of indexes of objects, kept in each process

_HEADER_BYTES = 32 << 20  # of headers, likewise

_READERS = 16

_T = TypeVar("_T")

_R = TypeVar("_R")


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
    def order(self) -> tuple[int, int, int]:
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
        yield "order", "uint64", documents if self.ordered else 0
        yield "sentence_offset", "int64", documents + 1 if self.sentences else 0
        yield "sentence_length", "int32", self.sentences  # tokens of each
        yield "hash", "uint64", 4 * self.hashes  # sorted; see `tokenreel.curation.hash_tables.HashTable`
        yield "repeat", "int64", self.repeats
        yield "faults", "uint8", self.fault_bytes  # JSON lines
        yield "tokens", self.token_dtype, self.tokens
        yield "spans", "int64", self.tokens if self.offsets else 0  # packed as in `alignment`

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


class _Kept:
    """The ranges that were read last, one of each file: every shard needs them of nearly every stage file."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def read(self, path: str, begin: int, size: int) -> bytes:
        with self._lock:
            if (found := self._kept.get(path)) is not None and len(found) == size:
                self._kept.move_to_end(path)
                return found
        data = files.read_bytes(path, begin, size)
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(path, b""))
            self._kept[path] = data
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data


_indexes = _Kept(_INDEX_BYTES)  # with them a group takes one request of each object instead of three

_headers = _Kept(_HEADER_BYTES)


def each(function: Callable[[_T], _R], items: Iterable[_T], *, remote: bool) -> Iterator[_R]:
    """Applies a function that reads stage files to some items, in order; several at once where each read waits for a server."""
    if not remote:
        yield from map(function, items)
        return
    with concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="tokenreel-stage") as pool:
        yield from pool.map(function, items)


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
            index = _indexes.read(path, begin, end - begin)
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
        head = json.loads(_headers.read(self.info.path, len(_MAGIC) + 8, self.info.body - len(_MAGIC) - 8).rstrip(b"\0"))
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


def fingerprint(
    block: Block,
    source: SourceConfig,
    vocabulary: str,
    rules: Rules,
    sentences: str | None,
    block_bytes: int,
    *,
    hashed: bool = False,
    with_offsets: bool = False,
) -> str:
    """Names the stage files of a block: what they are made from and how."""
    reading = (source.name, source.format, source.text_field, source.id_field or "", source.order_field or "", *source.metadata_fields)
    if source.format in ("csv", "tsv"):
        reading += ("columns", *source.columns, "delimiter", source.delimiter or "", str(source.embedded_newlines))
    return keys.digest(
        VERSION,
        keys.VERSION,
        block.fingerprint,
        vocabulary,
        *reading,
        source.max_document_bytes,
        rules.fingerprint,
        sentences or "",
        block_bytes,
        int(hashed),
        int(with_offsets),
    )


def name_of(config: JobConfig, block: Block, vocabulary: str, rules: Rules) -> str:
    """Names the stage files of a block in a build: the `fingerprint` of all that they depend on.

    Args:
      config: of the build.
      block: of a source.
      vocabulary: its fingerprint.
      rules: of the source.
    """
    return fingerprint(
        block,
        config.sources[block.source],
        vocabulary,
        rules,
        config.packing.sentences,
        config.execution.block_bytes,
        hashed=config.duplicates.remove == "documents",
        with_offsets=config.vocabulary.offsets,
    )


def describe(config: JobConfig, source: int, vocabulary: str, rules: Rules) -> dict[str, Any]:
    """What a stage file says of how it was made, for people: nothing reads it back into a build.

    Only what its name depends on, so that whoever makes the file writes the same bytes; no paths.
    """
    filters = dataclasses.asdict(rules.config)
    plain = dataclasses.asdict(FilterConfig())
    return {
        "block_bytes": config.execution.block_bytes,
        "filters": {name: value for name, value in filters.items() if value != plain[name] and name != "bad_words"},
        "filters_fingerprint": rules.fingerprint,
        "format": config.sources[source].format,
        "sentences": config.packing.sentences,
        "source": config.sources[source].name,
        "vocabulary": vocabulary,
        "vocabulary_kind": config.vocabulary.kind,
    }


def path_of(directory: str, block_fingerprint: str, part: int) -> str:
    """Where a stage file lies."""
    return files.join(directory, f"{block_fingerprint}-{part:05d}.stage")


def encode(
    cleaned: Cleaned,
    vocabulary: Any,
    rules: Rules,
    sentences: str | None = None,
    *,
    hashed: bool = False,
    with_offsets: bool = False,
) -> tuple[dict[str, npt.NDArray[Any]], Cleaned]:
    """Filters by length, and tokenizes the documents of a part.

    Args:
      cleaned: [n] documents, and which of them the rules that read text leave out.
      vocabulary: a `Vocabulary`.
      rules: what to leave out.
      sentences: rule by which documents are cut into sentences, each tokenized by itself; None leaves them whole.
      hashed: whether to add the hashes that tell documents of the same text.
      with_offsets: also find where each token lies in the text.

    Returns:
      arrays as in `StageInfo`, by the order of keys, and the documents with the reasons of those left out. What the vocabulary refuses
      joins the faults of the documents.
    """
    documents, limits = cleaned.documents, rules.config
    characters = characters_per_document(documents.text, documents.offsets)
    reasons = np.where((cleaned.reasons == 0) & (characters == 0), CODES["empty"], cleaned.reasons)
    reasons[(reasons == 0) & (characters < limits.min_characters)] = CODES["too_few_characters"]
    if limits.max_characters is not None:
        reasons[(reasons == 0) & (characters > limits.max_characters)] = CODES["too_many_characters"]
    order = np.lexsort((documents.position, documents.file, documents.key))  # ties: two documents of one name keep their order
    order = order[reasons[order] == 0]
    text, offsets = ragged.take(documents.text, documents.offsets, order)
    if refused := vocabulary.refused(text, offsets):
        documents.set_aside({int(order[i]): problem for i, problem in refused.items()})
        cleaned.modified[order[list(refused)]] = False
        order = np.delete(order, list(refused))
        text, offsets = ragged.take(documents.text, documents.offsets, order)
    vocabulary = vocabulary.for_documents(documents.key[order])
    per_document = sentence_lengths = np.zeros(0, dtype=np.int64)
    if sentences is None:
        tokens, lengths, spans = _encode_block(text, offsets, vocabulary, with_offsets)
    else:
        tokens, lengths, spans, sentence_lengths, per_document = _encode_sentences(text, offsets, vocabulary, sentences, with_offsets)
    reasons[order[lengths < limits.min_tokens]] = CODES["too_few_tokens"]
    if limits.max_tokens is not None:
        reasons[order[lengths > limits.max_tokens]] = CODES["too_many_tokens"]
    kept = reasons[order] == 0
    token_offsets = ragged.offsets_of(lengths)
    if not kept.all():
        if spans is not None:
            spans, _ = ragged.take(spans, token_offsets, np.flatnonzero(kept))
        tokens, token_offsets = ragged.take(tokens, token_offsets, np.flatnonzero(kept))
        if sentences is not None:
            sentence_lengths, new = ragged.take(sentence_lengths, ragged.offsets_of(per_document), np.flatnonzero(kept))
            per_document = np.diff(new)
        order = order[kept]
    arrays: dict[str, npt.NDArray[Any]] = {
        "key": documents.key[order],
        "token_offset": token_offsets,
        "position": documents.position[order],
        "characters": characters[order],
        "bytes": np.diff(documents.offsets)[order],
        "file": documents.file[order],
        "tokens": tokens,
    }
    if documents.order is not None:
        arrays["order"] = documents.order[order]
    if spans is not None:
        arrays["spans"] = spans
    if sentences is not None:
        arrays |= {"sentence_length": sentence_lengths, "sentence_offset": ragged.offsets_of(per_document)}
    for name, strings in (("id", documents.ids), ("metadata", documents.metadata)):
        if strings is not None:
            encoded = [strings[i].encode() for i in order]
            arrays[name] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{name}_offset"] = ragged.offsets_of(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
    if hashed:
        data, bounds = documents.text.tobytes(), documents.offsets
        hashes = hash_tables.hash_texts(data[bounds[i] : bounds[i + 1]] for i in order.tolist())
        entries, arrays["repeat"] = hash_tables.tabulate(hashes, hash_tables.ranks(arrays["key"]), np.arange(len(order)))
        arrays["hash"] = entries.ravel()
    return arrays, dataclasses.replace(cleaned, reasons=reasons)


def _encode_block(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Any, with_offsets: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Tokenizes texts: tokens, tokens of each, and the packed span of each token if asked."""
    if not with_offsets:
        return *vocabulary.encode_block(text, offsets), None
    tokens, lengths, begins, ends = vocabulary.encode_block_with_offsets(text, offsets)
    return tokens, lengths, token_spans.pack(begins, ends)


def _encode_sentences(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Any, rule: str, with_offsets: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64] | None, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokenizes sentence by sentence: tokens, tokens of each document, spans, tokens of each sentence, and sentences of each document."""
    found: list[bytes] = []
    first: list[int] = []  # character of the document at which each sentence begins
    per_document = np.zeros(len(offsets) - 1, dtype=np.int64)
    data = text.tobytes()
    for i, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        parts = split_sentences(data[start:end].decode(), rule)
        begins = itertools.accumulate(map(len, parts), initial=0)
        kept = [(part.encode(), begin) for part, begin in zip(parts, begins, strict=False) if part.strip()]
        per_document[i] = len(kept)
        found += [part for part, _ in kept]
        first += [begin for _, begin in kept]
    sizes = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    joined = np.frombuffer(b"".join(found), dtype=np.uint8)
    tokens, lengths, spans = _encode_block(joined, ragged.offsets_of(sizes), vocabulary.for_sentences(per_document), with_offsets)
    if spans is not None:
        spans = token_spans.shift(spans, np.repeat(np.array(first, dtype=np.int64), lengths))
    ends = np.append(0, np.cumsum(lengths))[ragged.offsets_of(per_document)]
    return tokens, np.diff(ends), spans, lengths, per_document


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
        ordered="order" in arrays,
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
        offsets="spans" in arrays,
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
