"""Stage files: the tokens of one part of a block, with what is needed to find, order and trace its documents.

A stage file depends on the text, the vocabulary and the filters only, so that datasets of any packing, order, split or seed are built
from it. Documents lie in the order of their keys: a key is a hash of the document's name, so a range of keys is a random sample of the
corpus and one contiguous range of every stage file. Splits and the groups of a shuffle are ranges of keys.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import files, keys, ragged, tfrecord
from tokenreel.config import FilterConfig, SourceConfig
from tokenreel.documents import Documents, Fault
from tokenreel.sentences import split as split_sentences
from tokenreel.sources import Block

VERSION = "stage-1"
_MAGIC = b"TRSTAGE1"
_ALIGNMENT = 64


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
      id_bytes: of the documents' names, 0 where the names are `path#position`.
      metadata_bytes: of their kept metadata.
      fault_bytes: of the dead letters.
      dead_letters: documents that could not be read.
      filtered: documents left out, by reason.
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
        yield "faults", "uint8", self.fault_bytes  # JSON lines
        yield "tokens", self.token_dtype, self.tokens

    def place(self, name: str) -> tuple[int, np.dtype[Any], int]:
        """The byte at which an array begins, its dtype and its length."""
        at = self.body
        for array, dtype, length in self._arrays():
            kind = np.dtype(dtype).newbyteorder("<")
            if array == name:
                return at, kind, length
            at = _align(at + kind.itemsize * length)
        raise KeyError(name)


def _align(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


class StageFile:
    """Reads ranges of the arrays of one stage file: views of a memory map, or range requests."""

    def __init__(self, info: StageInfo) -> None:
        self.info = info
        self._map: mmap.mmap | None = None
        if not files.is_remote(info.path):
            with open(info.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Reads elements [start, stop) of an array."""
        at, dtype, length = self.info.place(name)
        count = (length if stop is None else stop) - start
        at += start * dtype.itemsize
        if self._map is not None:
            return np.frombuffer(self._map, dtype=dtype, count=count, offset=at) if count else np.zeros(0, dtype=dtype)
        return np.frombuffer(files.read_bytes(self.info.path, at, count * dtype.itemsize), dtype=dtype)

    def header(self) -> dict[str, Any]:
        """Names of files, lines in each, and what identifies the input."""
        head = json.loads(files.read_bytes(self.info.path, len(_MAGIC) + 8, self.info.body - len(_MAGIC) - 8).rstrip(b"\0"))
        assert isinstance(head, dict)
        return head

    def documents_between(self, low: int, high: int) -> tuple[int, int]:
        """The range of documents whose keys lie in [low, high)."""
        key = self.read("key")
        first, last = (len(key) if bound >= 1 << 64 else int(np.searchsorted(key, np.uint64(bound))) for bound in (low, high))
        return first, last


def fingerprint(block: Block, source: SourceConfig, vocabulary: str, filters: FilterConfig, sentences: str | None, block_bytes: int) -> str:
    """Names the stage files of a block: what they are made from and how."""
    reading = (source.name, source.format, source.text_field, source.id_field or "", source.order_field or "", *source.metadata_fields)
    return keys.digest(VERSION, keys.VERSION, block.fingerprint, vocabulary, *reading, str(filters), sentences or "", block_bytes)


def path_of(directory: str, block_fingerprint: str, part: int) -> str:
    """Where a stage file lies."""
    return files.join(directory, f"{block_fingerprint}-{part:05d}.stage")


def encode(
    documents: Documents, vocabulary: Any, filters: FilterConfig, sentences: str | None = None
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int]]:
    """Filters and tokenizes the documents of a part.

    Args:
      documents: [n] documents.
      vocabulary: a `Vocabulary`.
      filters: what to leave out.
      sentences: rule by which documents are cut into sentences, each tokenized by itself; None leaves them whole.

    Returns:
      arrays as in `StageInfo`, by the order of keys, and the number of documents left out by reason. What the vocabulary refuses joins
      `documents.faults`.
    """
    characters = _count_characters(documents.text, documents.offsets)
    reasons = np.where(characters == 0, 1, 0)
    reasons[(characters > 0) & (characters < filters.min_characters)] = 2
    if filters.max_characters is not None:
        reasons[characters > filters.max_characters] = 3
    order = np.lexsort((documents.position, documents.file, documents.key))  # ties: two documents of one name keep their order
    order = order[reasons[order] == 0]
    text, offsets = ragged.take(documents.text, documents.offsets, order)
    if refused := vocabulary.refused(text, offsets):
        documents.set_aside({int(order[i]): problem for i, problem in refused.items()})
        order = np.delete(order, list(refused))
        text, offsets = ragged.take(documents.text, documents.offsets, order)
    vocabulary = vocabulary.for_documents(documents.key[order])
    per_document = sentence_lengths = np.zeros(0, dtype=np.int64)
    if sentences is None:
        tokens, lengths = vocabulary.encode_block(text, offsets)
    else:
        tokens, lengths, sentence_lengths, per_document = _encode_sentences(text, offsets, vocabulary, sentences)
    kept = lengths >= filters.min_tokens
    if filters.max_tokens is not None:
        kept &= lengths <= filters.max_tokens
    reasons[order[lengths < filters.min_tokens]] = 4
    if filters.max_tokens is not None:
        reasons[order[lengths > filters.max_tokens]] = 5
    token_offsets = ragged.offsets_of(lengths)
    if not kept.all():
        tokens, token_offsets = ragged.take(tokens, token_offsets, np.flatnonzero(kept))
        if sentences is not None:
            sentence_lengths, new = ragged.take(sentence_lengths, ragged.offsets_of(per_document), np.flatnonzero(kept))
            per_document = np.diff(new)
        order = order[kept]
    arrays = {
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
    if sentences is not None:
        arrays |= {"sentence_length": sentence_lengths, "sentence_offset": ragged.offsets_of(per_document)}
    for name, strings in (("id", documents.ids), ("metadata", documents.metadata)):
        if strings is not None:
            encoded = [strings[i].encode() for i in order]
            arrays[name] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{name}_offset"] = ragged.offsets_of(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
    names = ("", "empty", "too_few_characters", "too_many_characters", "too_few_tokens", "too_many_tokens")
    counts = np.bincount(reasons, minlength=len(names))
    return arrays, {name: int(count) for name, count in zip(names[1:], counts[1:], strict=True) if count}


def _encode_sentences(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Any, rule: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokenizes sentence by sentence: tokens, tokens of each document, of each sentence, and sentences of each document."""
    found: list[bytes] = []
    per_document = np.zeros(len(offsets) - 1, dtype=np.int64)
    data = text.tobytes()
    for i, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        parts = [part.encode() for part in split_sentences(data[start:end].decode(), rule) if part.strip()]
        per_document[i] = len(parts)
        found += parts
    sizes = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    tokens, lengths = vocabulary.for_sentences(per_document).encode_block(
        np.frombuffer(b"".join(found), dtype=np.uint8), ragged.offsets_of(sizes)
    )
    ends = np.append(0, np.cumsum(lengths))[ragged.offsets_of(per_document)]
    return tokens, np.diff(ends), lengths, per_document


def _count_characters(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Characters in each document: the bytes that do not continue one."""
    continuation = np.flatnonzero((text & 0xC0) == 0x80)  # ASCII has none, so this is short
    bounds = np.searchsorted(continuation, offsets)
    return np.diff(offsets) - np.diff(bounds)


def write(
    path: str,
    block: Block,
    part: int,
    last: bool,
    documents: Documents,
    arrays: Mapping[str, npt.NDArray[Any]],
    filtered: Mapping[str, int],
    token_dtype: str,
) -> StageInfo:
    """Writes a stage file; it appears complete or not at all."""
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
        filtered=dict(filtered),
    )
    body = bytearray()
    for name, dtype, length in info._arrays():
        if length:
            body += bytes(_align(len(body)) - len(body))
            body += np.ascontiguousarray(content[name], dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
    fields = {name: value for name, value in dataclasses.asdict(info).items() if name not in ("path", "source", "block", "body")}
    header = json.dumps({**fields, "crc32c": tfrecord.crc32c(bytes(body)), "files": documents.files, "lines": documents.lines}).encode()
    start = _align(len(_MAGIC) + 8 + len(header))
    with files.write_atomic(path) as file:
        file.write((_MAGIC + struct.pack("<Q", start) + header).ljust(start, b"\0"))
        file.write(body)
    return dataclasses.replace(info, body=start)


def reopen(path: str, block: Block) -> StageInfo | None:
    """Finds a stage file that an earlier build finished; None if there is none or its bytes are not what was written."""
    if files.size(path) is None:
        return None
    data = files.read_bytes(path)
    if data[: len(_MAGIC)] != _MAGIC or len(data) < len(_MAGIC) + 8:
        return None
    (body,) = struct.unpack_from("<Q", data, len(_MAGIC))
    try:
        header = json.loads(data[len(_MAGIC) + 8 : body].rstrip(b"\0"))
    except ValueError:
        return None
    if tfrecord.crc32c(data[body:]) != header["crc32c"]:
        return None
    names = {field.name for field in dataclasses.fields(StageInfo)}
    fields = {name: value for name, value in header.items() if name in names}
    return StageInfo(path=path, source=block.source, block=block.index, body=body, **fields)


def read_faults(info: StageInfo) -> list[Fault]:
    """The dead letters of a stage file."""
    return [Fault(**json.loads(line)) for line in StageFile(info).read("faults").tobytes().splitlines()]
