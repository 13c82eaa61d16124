"""`tokenreel verify`: compares every byte and every number of a dataset with its manifest, and lists what differs.

Everything is recomputed from the bytes, apart from the code that built them: the files and their CRCs, the frame and both CRCs of every
record, the values, the vocabulary's fingerprint, the statistics, and the provenance tables. Shards are read in chunks: memory grows
with the number of documents alone, some 40 bytes for each of a split.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokenreel.errors import TokenreelError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.format.manifest import FIXED, Manifest
from tokenreel.inspection.document_checks import Documents
from tokenreel.inspection.objective_settings import laid_out_width, read_settings
from tokenreel.inspection.record_checks import Place
from tokenreel.inspection.shard_check import COPY_AGAIN, ShardCheck
from tokenreel.inspection.statistics_checks import NEW, check_sources, check_split
from tokenreel.inspection.tally import Tally
from tokenreel.inspection.totals_checks import check_settings, check_totals
from tokenreel.inspection.vocabulary_check import check_vocabulary
from tokenreel.storage import files, locking
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.loading import open_stored

_CHUNK_BYTES = 4 << 20


def verify(directory: str) -> list[str]:
    """Checks a whole dataset, local or `gs://`.

    Returns:
      A line for each difference; none for a sound dataset.
    """
    return list(differences(directory))


def differences(
    directory: str, note: Callable[[str], None] = lambda line: None, progress: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """Yields the differences as they are found; numbers that make no sense at all end it.

    Args:
      directory: holds the dataset.
      note: is told what could not be checked, for lack of an optional package or because the records do not tell it.
      progress: is told what is being read.
    """
    try:
        manifest = manifests.read(directory)
    except TokenreelError as error:
        yield str(error)
        return
    try:
        yield from _check_all(directory, manifest, note, progress)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        # What an altered number leads to has no end. That it is no dataset that a build writes is all there is to say.
        yield f"{directory}: {naming.MANIFEST} or {naming.STATISTICS} is not what a build writes ({error!r})"


def quick_differences(directory: str) -> Iterator[str]:
    """Yields what a single listing tells: names and sizes of all files and, in a bucket, the CRC32C that it keeps of each object.

    Reads the manifest and nothing else.
    """
    try:
        manifest = manifests.read(directory)
        present = files.list_with_crc32c(directory)
    except TokenreelError as error:
        yield str(error)
        return
    yield from _check_names(manifest, {name: size for name, (size, _) in present.items()})
    for name, (wanted, crc) in manifest.checksums().items():
        size, found = present.get(name, (None, None))
        if size == wanted and found is not None and found != crc:
            yield f"{name}: crc32c is {found:#010x}, the manifest says {crc:#010x}. {COPY_AGAIN}"


def _check_all(directory: str, manifest: Manifest, note: Callable[[str], None], progress: Callable[[str], None]) -> Iterator[str]:
    """Runs every check, one after the other."""
    present = files.list_files(directory)  # once: for a bucket each listing costs requests
    yield from _check_names(manifest, present)
    intact: set[str] = set()
    yield from _check_files(directory, manifest, present, intact)
    vocabulary = _open_vocabulary(directory, manifest, intact)
    yield from _check_vocabulary(manifest, vocabulary, note)
    yield from check_settings(manifest)
    statistics = _read_statistics(directory, intact)
    settings = read_settings(manifest, vocabulary if isinstance(vocabulary, Vocabulary) else None)
    tallies = {}
    for split, info in manifest.splits.items():
        said = {} if statistics is None else statistics["splits"].get(split, {})
        width = laid_out_width(manifest, settings)
        documents = None if NEW not in said else Documents(manifest, split, width and width - manifest.overlap)
        tallies[split] = tally = Tally(settings, documents)
        first = 0
        for index, shard in enumerate(info.shards):
            first += info.shards[index - 1].records if index else 0
            if shard.file not in present:
                tally.complete, tally.last_segment = False, None
                tally.lose_segments()
                continue
            progress(shard.file)
            # A table that is missing or damaged was named already; what depends on it is not counted.
            name = naming.provenance(split, index, len(info.shards))
            table = name if name in intact else None
            if table is None:
                tally.lose_segments()
            place = Place(manifest=manifest, shard=shard, first=first, split_examples=info.examples)
            yield from ShardCheck(directory, place, tally, table, note, int(said.get("documents", 0))).check()
        if tally.documents is not None:
            yield from tally.documents.finish()
        if tally.complete and not tally.restored:
            note(f"split {split}: the records do not tell what stood before the objective, so counts of tokens are not compared")
    if statistics is not None:
        yield from _check_statistics(directory, manifest, intact, statistics, tallies)


def _check_names(manifest: Manifest, present: Mapping[str, int]) -> Iterator[str]:
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
    for name, size in _known_sizes(manifest).items():
        if name not in present:
            yield f"{name}: missing. Copy the dataset again from where it was built."
        elif present[name] != size:
            yield f"{name}: {present[name]:,} bytes, the manifest says {size:,}. {COPY_AGAIN}"
    known = {*_known_sizes(manifest), naming.MANIFEST, naming.REPORT, locking.LOCK}
    for name in present:
        if files.TEMPORARY.search(name):
            yield f"{name}: left behind by a process that was killed. Remove it."
        elif name not in known and not name.startswith(f"{naming.STAGE}/"):
            yield f"{name}: not in the manifest. Remove it, or build into a directory of its own."


def _known_sizes(manifest: Manifest) -> dict[str, int]:
    shards = {shard.file: shard.bytes for split in manifest.splits.values() for shard in split.shards}
    return shards | {info.file: info.bytes for info in manifest.files}


def _check_files(directory: str, manifest: Manifest, present: Mapping[str, int], intact: set[str]) -> Iterator[str]:
    """Compares the CRCs of the files beside the shards, and adds those that are what was written to `intact`."""
    import google_crc32c

    for info in manifest.files:
        if info.file not in present:
            continue
        crc = 0
        try:
            with files.open_read(files.join(directory, info.file)) as file:
                while data := file.read(_CHUNK_BYTES):
                    crc = google_crc32c.extend(crc, data)
        except OSError as error:
            yield f"{info.file}: cannot be read ({error})"
            continue
        if crc != info.crc32c:
            yield f"{info.file}: crc32c is {crc:#010x}, the manifest says {info.crc32c:#010x}. {COPY_AGAIN}"
        else:
            intact.add(info.file)


def _open_vocabulary(directory: str, manifest: Manifest, intact: set[str]) -> Vocabulary | Exception | None:
    """Opens the dataset's vocabulary; None if its file is missing or damaged, which was named already, or the error."""
    info = manifest.vocabulary
    if info.file is not None and info.file not in intact:
        return None
    try:
        return open_stored(directory, manifest)
    except (ModuleNotFoundError, TokenreelError, OSError, TypeError, ValueError) as error:
        return error


def _check_vocabulary(manifest: Manifest, vocabulary: Vocabulary | Exception | None, note: Callable[[str], None]) -> Iterator[str]:
    info = manifest.vocabulary
    name = info.file or f"vocabulary {info.kind}"
    if isinstance(vocabulary, ModuleNotFoundError):
        note(f"{name}: its fingerprint was not recomputed ({vocabulary})")
    elif isinstance(vocabulary, Exception):
        yield f"{name}: cannot be loaded ({vocabulary})"
    if not isinstance(vocabulary, Vocabulary):
        return
    yield from check_vocabulary(manifest, vocabulary, name)


def _read_statistics(directory: str, intact: set[str]) -> dict[str, Any] | None:
    """Reads `statistics.json`; None where it is missing or damaged, which was named already."""
    if naming.STATISTICS not in intact:
        return None
    read: dict[str, Any] = json.loads(files.read_bytes(files.join(directory, naming.STATISTICS)))
    return read


def _check_statistics(
    directory: str, manifest: Manifest, intact: set[str], statistics: Mapping[str, Any], tallies: Mapping[str, Tally]
) -> Iterator[str]:
    """Compares `statistics.json` with what the records hold. Splits with damaged records were named already."""
    name, splits = naming.STATISTICS, statistics["splits"]
    if set(splits) != set(manifest.splits):
        yield f"{name}: describes the splits {', '.join(sorted(splits))}, the manifest {', '.join(sorted(manifest.splits))}"
        return
    complete = {split: tally for split, tally in tallies.items() if tally.complete}
    for split, tally in complete.items():
        yield from check_split(manifest, split, splits[split], tally)
    letters = _count_dead_letters(directory, manifest, intact)
    yield from check_sources(manifest, statistics, complete, letters)
    yield from check_totals(manifest.totals, statistics)
    if letters is not None and sum(letters.values()) != manifest.totals["documents_dead_lettered"]:
        counted = manifest.totals["documents_dead_lettered"]
        yield f"{naming.DEAD_LETTERS}: {sum(letters.values()):,} dead letters, the manifest counts {counted:,}"


def _count_dead_letters(directory: str, manifest: Manifest, intact: set[str]) -> dict[str, int] | None:
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
