"""The checks of what stands beside the shards: names and sizes, checksums, the vocabulary, and what the files say.

Tested in tests/tokenreel/inspection/test_verification.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import IO, Any

from tokenreel.errors import TokenreelError
from tokenreel.format import naming
from tokenreel.format.manifest import FIXED, FileInfo, Manifest
from tokenreel.inspection.shard_check import COPY_AGAIN
from tokenreel.inspection.vocabulary_check import check_vocabulary
from tokenreel.storage import files, locking
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.loading import open_stored

_CHUNK_BYTES = 4 << 20


def check_names(manifest: Manifest, present: Mapping[str, int]) -> Iterator[str]:
    """Compares the manifest with itself and with the names and sizes of the files there are."""
    for split, info in manifest.splits.items():
        count = len(info.shards)
        for index, shard in enumerate(info.shards):
            wanted = naming.shard(split, index, count)
            if shard.file != wanted:
                yield f"{naming.MANIFEST}: shard {index} of split {split} is called {shard.file}, its place asks for {wanted}"
            if index < count - 1 and shard.records != info.shards[0].records:
                yield (
                    f"{naming.MANIFEST}: {shard.file} has {shard.records:,} records and {info.shards[0].file} has "
                    f"{info.shards[0].records:,}; all shards of a split but the last must hold equally many"
                )
            if index == count - 1 and shard.records > info.shards[0].records:
                yield f"{naming.MANIFEST}: the last shard, {shard.file}, has more records than the others"
            if manifest.record_format == FIXED and shard.bytes != shard.records * manifest.fixed_format.record_bytes:
                yield (
                    f"{naming.MANIFEST}: {shard.file} has {shard.bytes:,} bytes, but {shard.records:,} records of "
                    f"{manifest.fixed_format.record_bytes:,} bytes make {shard.records * manifest.fixed_format.record_bytes:,}"
                )
    listed = manifest.checksums()
    for name, (size, _) in listed.items():
        if name not in present:
            yield f"{name}: missing. Copy the dataset again from where it was built."
        elif present[name] != size:
            yield f"{name}: {present[name]:,} bytes, the manifest says {size:,}. {COPY_AGAIN}"
    known = {*listed, naming.MANIFEST, naming.REPORT, locking.LOCK}
    for name in present:
        if files.TEMPORARY.search(name):
            yield f"{name}: left behind by a process that was killed. Remove it."
        elif name not in known and not name.startswith(f"{naming.STAGE}/"):
            yield f"{name}: not in the manifest. Remove it, or build into a directory of its own."


def check_file(directory: str, info: FileInfo, kept: IO[bytes] | None = None) -> Generator[str, None, bool]:
    """Compares the CRC of a file with the manifest; returns whether it is what was written.

    Args:
      directory: holds the dataset.
      info: what the manifest says.
      kept: is written what was read, as long as the file is not longer than it should be.
    """
    import google_crc32c

    crc = 0
    try:
        with files.open_read(files.join(directory, info.file)) as file:
            while data := file.read(_CHUNK_BYTES):
                crc = google_crc32c.extend(crc, data)
                if kept is not None and kept.tell() <= info.bytes:
                    kept.write(data)
    except OSError as error:
        yield f"{info.file}: cannot be read ({error})"
        return False
    if crc != info.crc32c:
        yield f"{info.file}: crc32c is {crc:#010x}, the manifest says {info.crc32c:#010x}. {COPY_AGAIN}"
    return crc == info.crc32c


def open_vocabulary(directory: str, manifest: Manifest, intact: set[str]) -> Vocabulary | Exception | None:
    """Opens the dataset's vocabulary; None if its file is missing or damaged, which was named already, or the error."""
    info = manifest.vocabulary
    if info.file is not None and info.file not in intact:
        return None
    try:
        return open_stored(directory, manifest, anew=True)
    except (ModuleNotFoundError, TokenreelError, OSError, TypeError, ValueError) as error:
        return error


def check_opened(manifest: Manifest, vocabulary: Vocabulary | Exception | None, note: Callable[[str], None]) -> Iterator[str]:
    """Compares the vocabulary with the manifest, or says why it could not be opened."""
    info = manifest.vocabulary
    name = info.file or f"vocabulary {info.kind}"
    if isinstance(vocabulary, ModuleNotFoundError):
        note(f"{name}: its fingerprint was not recomputed ({vocabulary})")
    elif isinstance(vocabulary, Exception):
        yield f"{name}: cannot be loaded ({vocabulary})"
    if not isinstance(vocabulary, Vocabulary):
        return
    yield from check_vocabulary(manifest, vocabulary, name)


def read_statistics(directory: str, intact: set[str]) -> dict[str, Any] | None:
    """Reads `statistics.json`; None where it is missing or damaged, which was named already."""
    if naming.STATISTICS not in intact:
        return None
    read: dict[str, Any] = json.loads(files.read_bytes(files.join(directory, naming.STATISTICS)))
    return read


def count_dead_letters(directory: str, manifest: Manifest, intact: set[str]) -> dict[str, int] | None:
    """Counts the dead letters of each source, listed or not; None for a file that is damaged, which was named already."""
    letters: dict[str, int] = {}
    if any(info.file == naming.DEAD_LETTERS for info in manifest.files):
        if naming.DEAD_LETTERS not in intact:
            return None
        with files.open_read(files.join(directory, naming.DEAD_LETTERS)) as file:
            for line in file:
                letter = json.loads(line)
                source = letter.get("source", "")
                letters[source] = letters.get(source, 0) + letter.get("not_listed", 1)
    return letters
