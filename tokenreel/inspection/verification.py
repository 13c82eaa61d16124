"""`tokenreel verify`: compares every byte and every number of a dataset with its manifest, and lists what differs.

Everything is recomputed from the bytes, apart from the code that built them: the files and their CRCs, the frame and both CRCs of every
record, the values, the vocabulary's fingerprint, the statistics, and the provenance tables. Shards are read in chunks, so memory does not
grow with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel.errors import TokenreelError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, schema
from tokenreel.format.manifest import FIXED, Manifest
from tokenreel.inspection.record_checks import Place, Tally
from tokenreel.inspection.shard_check import COPY_AGAIN, ShardCheck
from tokenreel.storage import files, locking

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
    """Yields the differences as they are found.

    Args:
      directory: holds the dataset.
      note: is told what could not be checked for lack of an optional package.
      progress: is told what is being read.
    """
    try:
        manifest = manifests.read(directory)
    except TokenreelError as error:
        yield str(error)
        return
    present = files.list_files(directory)  # once: for a bucket each listing costs requests
    yield from _check_names(manifest, present)
    intact: set[str] = set()
    yield from _check_files(directory, manifest, present, intact)
    yield from _check_vocabulary(directory, manifest, intact, note)
    tallies = {}
    for split, info in manifest.splits.items():
        tallies[split] = tally = Tally(manifest.vocabulary.vocab_size)
        for index, shard in enumerate(info.shards):
            if shard.file not in present:
                tally.complete, tally.last_segment = False, None
                continue
            progress(shard.file)
            # A table that is missing or damaged was named already; what depends on it is not counted.
            name = naming.provenance(split, index, len(info.shards))
            table = name if name in intact else None
            if table is None:
                tally.segments = None
            first = sum(other.records for other in info.shards[:index])
            place = Place(manifest=manifest, shard=shard, first=first, split_examples=info.examples)
            yield from ShardCheck(directory, place, tally, table, note).check()
    yield from _check_statistics(directory, manifest, intact, tallies)
    yield from _check_totals(directory, manifest, intact)


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


def _check_vocabulary(directory: str, manifest: Manifest, intact: set[str], note: Callable[[str], None]) -> Iterator[str]:
    from tokenreel.vocabularies.loading import load_vocabulary

    info = manifest.vocabulary
    if info.file is not None and info.file not in intact:
        return
    path = None if info.file is None else files.join(directory, info.file)
    name = info.file or f"vocabulary {info.kind}"
    try:
        vocabulary = load_vocabulary(info.kind, path, **info.options)
    except ModuleNotFoundError as error:
        note(f"{name}: its fingerprint was not recomputed ({error})")
        return
    except (TokenreelError, OSError, ValueError) as error:
        yield f"{name}: cannot be loaded ({error})"
        return
    for field in ("fingerprint", "vocab_size", "pad_id", "bos_id", "eos_id", "unk_id"):
        found, wanted = getattr(vocabulary, field), getattr(info, field)
        if found != wanted:
            yield f"{name}: its {field} is {found!r}, the manifest says {wanted!r}"
    if manifest.objective_facts is not None:
        facts = manifests.pack_facts(vocabulary.objective_facts())
        for fact in sorted({*facts, *manifest.objective_facts}):
            if facts.get(fact) != manifest.objective_facts.get(fact):
                yield f"{name}: its {fact} is {_brief(facts.get(fact))}, the manifest says {_brief(manifest.objective_facts.get(fact))}"


def _check_statistics(directory: str, manifest: Manifest, intact: set[str], tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Compares `statistics.json` with what the records hold. Splits with damaged records were named already."""
    name = naming.STATISTICS
    if name not in intact:
        return
    try:
        splits = json.loads(files.read_bytes(files.join(directory, name)))["splits"]
    except (ValueError, KeyError, TypeError) as error:
        yield f"{name}: not what a build writes ({error!r})"
        return
    if set(splits) != set(manifest.splits):
        yield f"{name}: describes the splits {', '.join(sorted(splits))}, the manifest {', '.join(sorted(manifest.splits))}"
    for split, tally in tallies.items():
        if not tally.complete or split not in splits:
            continue
        for field, found in _expected_statistics(manifest, tally).items():
            said = splits[split].get(field)
            if said != found:
                yield f"{name}: split {split}: {field} is {_brief(said)}, the records hold {_brief(found)}"


# Objectives that leave the tokens as they are. Masked ones are put back; what others hide cannot be recounted.
_KEEP_TOKENS = ("causal_lm", "fill_in_the_middle", "next_tokens", "prefix_lm", "typo_noise")


def _expected_statistics(manifest: Manifest, tally: Tally) -> dict[str, Any]:
    names = {feature.name: feature for feature in manifest.features}
    expected: dict[str, Any] = {"examples": tally.examples}
    mode = manifest.config.get("packing", {}).get("mode")
    if mode == "segment_pairs":  # the statistics count documents' tokens, the records special ones as well
        return expected
    if schema.TOKENS in names:
        positions = tally.examples * names[schema.TOKENS].size
        expected |= {"tokens_in_examples": tally.tokens, "density": tally.tokens / positions if positions else 0.0}
        if schema.DOCUMENT_STARTS in names:
            expected["document_starts"] = tally.document_starts
        if manifest.config.get("objective", {}).get("name") in _KEEP_TOKENS or "mask_ids" in names:
            expected |= _expected_counts(manifest, tally)
    wrapped = mode == "wrap"
    if wrapped or not manifest.overlap:  # one token of every example but the first of each variant
        expected["overlapping_tokens"] = max(0, tally.examples - int(manifest.config.get("variants", 1))) * manifest.overlap
    if tally.segments is not None and any(info.file.startswith("provenance/") for info in manifest.files):
        expected["segments"] = tally.segments
        if manifest.overlap and mode == "wrap_within_document":
            expected["overlapping_tokens"] = tally.continued
        expected["segment_lengths"] = {str((1 << i) - 1): int(count) for i, count in enumerate(tally.segment_lengths) if count}
    return expected


def _expected_counts(manifest: Manifest, tally: Tally) -> dict[str, Any]:
    unk = manifest.vocabulary.unk_id
    # The build lists the fifty most frequent, equal ones by their id: a stable sort does so.
    frequent = np.argsort(-tally.counts, kind="stable")[:50]
    known = [name for name in ("bos", "eos", "unk", "pad") if getattr(manifest.vocabulary, f"{name}_id") is not None]
    return {
        "special_tokens": {name: tally.specials.get(name, 0) for name in known},
        "unknown_rate": int(tally.counts[unk]) / tally.tokens if unk is not None and tally.tokens else 0.0,
        "vocabulary_used": int(np.count_nonzero(tally.counts)) / tally.vocab_size,
        "frequent_tokens": [[int(i), int(tally.counts[i])] for i in frequent if tally.counts[i]],
    }


def _brief(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _check_totals(directory: str, manifest: Manifest, intact: set[str]) -> Iterator[str]:
    """Checks that the manifest's own numbers add up, and that they are those of the statistics and of the dead letters."""
    try:
        yield from _check_sums(manifest.totals)
    except (KeyError, TypeError, AttributeError) as error:
        yield f"{naming.MANIFEST}: totals are not what a build writes ({error!r})"
        return
    if naming.STATISTICS in intact:
        try:
            statistics = json.loads(files.read_bytes(files.join(directory, naming.STATISTICS)))
            yield from _check_statistics_totals(manifest.totals, statistics)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"{naming.STATISTICS}: not what a build writes ({error!r})"
    yield from _check_dead_letters(directory, manifest, intact)


def _check_sums(totals: Mapping[str, Any]) -> Iterator[str]:
    """Checks that every document read has one fate, and every token one of two."""
    name = naming.MANIFEST
    parts = {key: int(totals[key]) for key in ("documents_written", "documents_dropped", "documents_dead_lettered")}
    parts["documents_filtered"] = sum(totals["documents_filtered"].values())
    parts |= {key: int(totals.get(key, 0)) for key in ("documents_duplicate", "documents_not_sampled")}
    parts["documents_repeated"] = -int(totals.get("documents_repeated", 0))  # further copies of documents, all of them written
    if totals["documents_read"] != sum(parts.values()):
        yield f"{name}: {totals['documents_read']:,} documents were read, but {parts} add up to {sum(parts.values()):,}"
    if totals["tokens"] != totals["tokens_written"] + totals["tokens_dropped"]:
        yield f"{name}: {totals['tokens']:,} tokens are not {totals['tokens_written']:,} written + {totals['tokens_dropped']:,} dropped"


def _check_statistics_totals(totals: Mapping[str, Any], statistics: Mapping[str, Any]) -> Iterator[str]:
    """Checks that splits and sources of `statistics.json` add up to the totals of the manifest."""
    splits, sources = statistics["splits"].values(), statistics.get("sources", {}).values()
    for total, fields in _TOTALS.items():
        found = sum(split[fields[0]] - sum(split[field] for field in fields[1:]) for split in splits)
        if found != totals[total]:
            yield f"{naming.STATISTICS}: its splits make {total} {found:,}, the manifest says {totals[total]:,}"
    for total, field in _SOURCE_TOTALS.items():
        found = sum(source[field] for source in sources)
        if sources and found != totals.get(total, 0):
            yield f"{naming.STATISTICS}: its sources make {total} {found:,}, the manifest says {totals.get(total, 0):,}"


def _check_dead_letters(directory: str, manifest: Manifest, intact: set[str]) -> Iterator[str]:
    """Counts the lines of the dead letters; a file that is damaged was named already."""
    letters = 0
    if any(info.file == naming.DEAD_LETTERS for info in manifest.files):
        if naming.DEAD_LETTERS not in intact:
            return
        with files.open_read(files.join(directory, naming.DEAD_LETTERS)) as file:
            letters = sum(1 for _ in file)
    counted = manifest.totals["documents_dead_lettered"]
    if letters != counted:
        yield f"{naming.DEAD_LETTERS}: {letters:,} lines, the manifest counts {counted:,} dead letters"


_SOURCE_TOTALS = {
    "documents_dead_lettered": "dead_letters",
    "documents_duplicate": "duplicates",
    "documents_not_sampled": "not_sampled",
    "documents_repeated": "repeated",
}

# Each total of the manifest is the sum over all splits of a field of their statistics, less the fields behind it.
_TOTALS = {
    "documents_written": ("documents", "dropped_documents"),
    "documents_dropped": ("dropped_documents",),
    "tokens": ("tokens",),
    "tokens_written": ("tokens", "dropped_tokens"),
    "tokens_dropped": ("dropped_tokens",),
}
