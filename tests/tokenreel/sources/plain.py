"""Plain text read as a build reads it, and in the plainest code there is."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pathlib

import zstandard

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.documents import Documents
from tokenreel.sources.reading import read_documents

COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def read(path: pathlib.Path, kind: str, block_bytes: int) -> tuple[dict[tuple[str, int], str], list[Documents]]:
    """All documents of a file or directory by (file, position), and what they were read in."""
    source = SourceConfig(files=(str(path),), format=kind)  # type: ignore[arg-type]
    parts = [part for block in list_blocks(source, 0, block_bytes) for part in read_documents(block, source, block_bytes)]
    found = {}
    for part in parts:
        for i in range(len(part)):
            place = (part.files[part.file[i]], int(part.position[i]))
            assert place not in found
            found[place] = part.text[part.offsets[i] : part.offsets[i + 1]].tobytes().decode()
    return found, parts


def plainly(data: bytes, kind: str) -> dict[int, str]:
    """What a file holds, in the plainest code there is."""
    if b"\r" in data and b"\n" not in data:
        return {at: text.replace("\n", "\r") for at, text in plainly(data.replace(b"\r", b"\n"), kind).items()}
    position = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    lines = []
    for line in data[position:].split(b"\n"):
        lines.append((position, line.removesuffix(b"\r")))
        position += len(line) + 1
    if lines[-1][1] == b"" and data.endswith(b"\n"):
        lines.pop()
    if kind == "lines":
        return {at: line.decode() for at, line in lines if at < len(data)}
    found: dict[int, list[tuple[int, bytes]]] = {}
    current = None
    for at, line in lines:
        if not line.strip():
            current = None
        elif current is None:
            current = at
            found[current] = [(at, line)]
        else:
            found[current].append((at, line))
    return {at: data[at : group[-1][0] + len(group[-1][1])].decode() for at, group in found.items()}
