"""The end of a build: building a shard, adding up, checking that nothing was lost, and writing the manifest."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import tokenreel
from tokenreel import keys, provenance, shards
from tokenreel.config.build import JobConfig
from tokenreel.curation import cleaned
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import FileInfo, Manifest, ShardInfo, SplitInfo, VocabularyInfo, file_info, write_json
from tokenreel.planning import selection
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.identity import algorithms
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.shard_plan import ShardPlan, SplitPlan
from tokenreel.shards import ShardStatistics, ShardWriter
from tokenreel.sources.documents import Fault
from tokenreel.staging import stage_file
from tokenreel.storage import files
from tokenreel.vocabularies.base import Vocabulary

_TOP_TOKENS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltShard:
    """A shard that lies in its place."""

    split: str
    index: int
    shard: ShardInfo
    provenance: FileInfo | None
    statistics: ShardStatistics


def build_shard(order: DocumentOrder, plan: ShardPlan, state: str, build: str) -> BuiltShard:
    """Writes one shard and its provenance; a shard that an earlier run of the same build finished is verified and kept.

    Args:
      order: of the documents.
      plan: of the shard.
      state: directory that remembers finished shards.
      build: digest of everything that decides the bytes.
    """
    recipe, config = order.recipe, order.config
    path = files.join(config.output, plan.file)
    record = files.join(state, f"{plan.file}.json")
    identity = keys.digest(build, str(plan), json.dumps([(staged.info.path, staged.removed) for staged in order.stages]))
    if (finished := _finished(record, identity, config.output, recipe.vocabulary)) is not None:
        return finished
    statistics = ShardStatistics.zero(recipe.vocabulary)
    pieces = []
    with files.write_atomic(path) as file:
        writer = ShardWriter(file, recipe.layout, config.shards.format)
        for piece in shards.assemble(order, plan):
            found = shards.describe(piece, plan, recipe)
            ids = np.arange(piece.base, piece.base + found.examples)
            arrays = recipe.objective.apply(piece.arrays, ids, seed=config.seed, variant=piece.variant)
            found.objective = recipe.objective.statistics(piece.arrays, arrays)
            writer.write(arrays, piece.first)
            statistics += found
            piece.arrays.clear()
            pieces.append(piece)
    if writer.records != plan.examples:
        raise BuildError(f"{plan.file}: {writer.records:,} examples were made of {plan.examples:,} planned")
    shard = ShardInfo(file=plan.file, records=writer.records, bytes=writer.bytes, crc32c=writer.crc32c)
    table = _write_provenance(order, plan, pieces) if config.shards.provenance else None
    built = BuiltShard(split=plan.split, index=plan.index, shard=shard, provenance=table, statistics=statistics)
    files.write_bytes(record, json.dumps({"identity": identity, **_plain(built)}).encode())
    return built


def _write_provenance(order: DocumentOrder, plan: ShardPlan, pieces: Sequence[shards.Piece]) -> FileInfo:
    name = naming.provenance(plan.split, plan.index, plan.count)
    path = files.join(order.config.output, name)
    with files.write_atomic(path) as file:
        provenance.write(file, provenance.table(pieces, order.stages, order.config))
    return file_info(order.config.output, name)


def _plain(built: BuiltShard) -> dict[str, Any]:
    table = built.provenance
    return {
        "split": built.split,
        "index": built.index,
        "shard": dataclasses.asdict(built.shard),
        "provenance": dataclasses.asdict(table) if table else None,
        "statistics": built.statistics.to_json(),
    }


def _finished(record: str, identity: str, output: str, vocabulary: VocabularyInfo) -> BuiltShard | None:
    if files.size(record) is None:
        return None
    try:
        plain = json.loads(files.read_bytes(record))
        if plain.pop("identity") != identity:
            return None
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged: the shard is made again
        return None
    shard = ShardInfo(**plain["shard"])
    table = FileInfo(**plain["provenance"]) if plain["provenance"] else None
    if not shards.matches(files.join(output, shard.file), shard):
        return None
    if table is not None and (files.size(files.join(output, table.file)) is None or file_info(output, table.file) != table):
        return None
    statistics = ShardStatistics.from_json(plain["statistics"], vocabulary)
    return BuiltShard(split=plain["split"], index=plain["index"], shard=shard, provenance=table, statistics=statistics)


def finish(
    recipe: Recipe,
    vocabulary: Vocabulary,
    stages: Sequence[StageSelection],
    plans: Iterable[SplitPlan],
    built: Iterable[BuiltShard],
    inputs: Mapping[str, Any],
) -> Manifest:
    """Adds everything up, checks that nothing was lost, and writes dead letters, statistics, vocabulary and, last, the manifest.

    Args:
      recipe: of the build.
      vocabulary: its copy is written beside the shards.
      stages: all stage files, sorted.
      plans: one for each split.
      built: all shards.
      inputs: what the listing found, for the manifest.

    Raises:
      BuildError: documents or tokens do not add up, or too many documents could not be read.
    """
    config, info = recipe.config, recipe.vocabulary
    by_split = {plan.split: plan for plan in plans}
    finished: dict[str, list[BuiltShard]] = {split: [] for split in by_split}
    for shard in built:
        finished[shard.split].append(shard)
    sums = {split: sum((shard.statistics for shard in found), ShardStatistics.zero(info)) for split, found in finished.items()}
    written = [_write_dead_letters(config, stages)]  # first: if there are too many, they are what is wanted
    totals = conservation(config, stages, by_split, sums)
    totals["inputs"] = dict(inputs)
    written.append(write_json(config.output, naming.STATISTICS, statistics(recipe, stages, by_split, sums)))
    if info.file is not None and vocabulary.data is not None:
        files.write_bytes(files.join(config.output, info.file), vocabulary.data)
        written.append(file_info(config.output, info.file))
    written += [shard.provenance for found in finished.values() for shard in found if shard.provenance is not None]
    manifest = Manifest(
        seq_len=config.packing.seq_len,
        overlap=config.packing.overlap,
        pad_id=recipe.pad_id,
        record_format=config.shards.format,
        features=recipe.features,
        splits={
            split: SplitInfo(shards=tuple(shard.shard for shard in sorted(found, key=lambda shard: shard.index)))
            for split, found in sorted(finished.items())
        },
        vocabulary=info,
        config=config.semantics(),
        seed=config.seed,
        algorithms=algorithms(recipe),
        totals=totals,
        files=tuple(sorted((item for item in written if item is not None), key=lambda item: item.file)),
        tokenreel_version=tokenreel.__version__,
        objective_facts=recipe.objective_facts,
    )
    _remove_older(config.output, manifest)
    files.write_bytes(files.join(config.output, naming.MANIFEST), manifest.to_text().encode())
    return manifest


def _remove_older(directory: str, manifest: Manifest) -> None:
    """Removes shards and tables that a run over other text of the same names and sizes left before it was killed."""
    known = {shard.file for split in manifest.splits.values() for shard in split.shards} | {info.file for info in manifest.files}
    for name in files.list_files(directory):
        if name not in known and (naming.is_shard(name) or name.startswith("provenance/")):
            files.remove(files.join(directory, name))


def conservation(
    config: JobConfig, stages: Sequence[StageSelection], plans: Mapping[str, SplitPlan], sums: Mapping[str, ShardStatistics]
) -> dict[str, Any]:
    """Checks documents in = written + left out + dropped + dead-lettered, and tokens likewise, split by split.

    What was written is counted from the examples themselves, what was read from the stage files, what was dropped from the plan: three
    separate measurements.

    Raises:
      BuildError: an identity does not hold; names it and both sides.
    """
    filtered = cleaned.summed([staged.info.filtered for staged in stages])
    kept = sum(staged.info.documents for staged in stages)
    dead = sum(staged.info.dead_letters for staged in stages)
    read = kept + sum(filtered.values()) + dead
    if read and dead / read > config.execution.max_dead_letter_fraction:
        raise BuildError(too_many_dead_letters(config, stages, dead, read))
    duplicates, not_sampled = (sum(getattr(staged, name) for staged in stages) for name in ("duplicates", "not_sampled"))
    repeated = sum(_repeated(staged) for staged in stages)
    taken = sum(plan.documents for plan in plans.values())
    _require_equal("documents in stage files, and copies of them", kept + repeated, "taken + left out", taken + duplicates + not_sampled)
    for index, source in enumerate(config.sources):
        own = [staged for staged in stages if staged.info.source == index]
        held = sum(staged.info.documents + _repeated(staged) for staged in own)
        used = sum(staged.duplicates + staged.not_sampled + sum(staged.counts(split)[0] for split in plans) for staged in own)
        _require_equal(f"{source.name}: documents and copies", held, "taken + left out", used)
    for split, plan in plans.items():
        found = sums[split]
        documents, tokens = found.documents, found.tokens - found.overlapping_tokens
        dropped = sum(plan.dropped_tokens.values())
        copies = config.variants
        _require_equal(f"{split}: documents", plan.documents * copies, "written + dropped", documents + plan.dropped_documents * copies)
        _require_equal(f"{split}: tokens", plan.tokens * copies, "written + dropped", tokens + dropped * copies)
        _require_equal(f"{split}: examples planned", sum(s.examples for s in plan.shards), "examples written", found.examples)
    return {
        "documents_read": read,
        "documents_written": sum(plan.documents - plan.dropped_documents for plan in plans.values()),
        "documents_filtered": filtered,
        "documents_duplicate": duplicates,
        "documents_not_sampled": not_sampled,
        "documents_repeated": repeated,
        "documents_dropped": sum(plan.dropped_documents for plan in plans.values()),
        "documents_dead_lettered": dead,
        "tokens": sum(plan.tokens for plan in plans.values()),
        "tokens_written": sum(plan.tokens - sum(plan.dropped_tokens.values()) for plan in plans.values()),
        "tokens_dropped": sum(sum(plan.dropped_tokens.values()) for plan in plans.values()),
    }


def _repeated(staged: StageSelection) -> int:
    """Copies behind the first of the documents of a stage file."""
    return sum(counts[0] for copies in staged.splits.values() for counts in copies[1:])


def _require_equal(left: str, left_count: int, right: str, right_count: int) -> None:
    if left_count != right_count:
        raise BuildError(
            f"the build lost or doubled something: {left} {left_count:,}, {right} {right_count:,}. No manifest was written. "
            "Please report this with the config."
        )


def too_many_dead_letters(config: JobConfig, stages: Sequence[StageSelection], dead: int, read: int) -> str:
    """Says what could not be read, with the first few places."""
    reasons: Counter[str] = Counter()
    samples: list[str] = []
    for source, name, line, fault in _dead_letters(stages):
        reasons[fault.reason] += 1
        if len(samples) < 3:
            place = f"byte {fault.position:,}" if line is None else f"line {line:,}"
            samples.append(f"{config.sources[source].name}: {name} {place}: {fault.message}")
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return (
        f"{dead:,} of {read:,} documents could not be read ({counts}), more than execution.max_dead_letter_fraction = "
        f"{config.execution.max_dead_letter_fraction:g} allows. All of them are in {files.join(config.output, naming.DEAD_LETTERS)}. "
        "The first:\n  " + "\n  ".join(samples)
    )


def _dead_letters(stages: Sequence[StageSelection]) -> Iterable[tuple[int, str, int | None, Fault]]:
    """Every dead letter in the order of the text: source, file, line in the file if it is known, fault."""
    lines: dict[tuple[int, str], int] = {}
    for staged in stages if any(staged.info.dead_letters for staged in stages) else ():
        info = staged.info
        header = stage_file.StageFile(info).header()
        for fault in stage_file.read_faults(info):
            line = lines.get((info.source, fault.file), 0) + fault.line if fault.line else None
            yield info.source, fault.file, line, fault
        for name, count in zip(header["files"], header["lines"], strict=True):
            lines[info.source, name] = lines.get((info.source, name), 0) + count


def _write_dead_letters(config: JobConfig, stages: Sequence[StageSelection]) -> FileInfo | None:
    """Writes the dead letters of all blocks into one file, in the order of sources, files and places; None where there are none."""
    if not any(staged.info.dead_letters for staged in stages):
        return None
    with files.write_atomic(files.join(config.output, naming.DEAD_LETTERS)) as file:
        for source, name, line, fault in _dead_letters(stages):
            letter = {
                "source": config.sources[source].name,
                "file": name,
                "line": line,
                "position": fault.position,
                "reason": fault.reason,
                "message": fault.message,
                "excerpt": fault.excerpt,
            }
            file.write(json.dumps(letter, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    return file_info(config.output, naming.DEAD_LETTERS)


def statistics(
    recipe: Recipe, stages: Sequence[StageSelection], plans: Mapping[str, SplitPlan], sums: Mapping[str, ShardStatistics]
) -> dict[str, Any]:
    """What `statistics.json` says: whole numbers and ratios, by split and by source."""
    return {
        "splits": {split: _split_statistics(recipe, stages, plans[split], sums[split]) for split in sorted(plans)},
        "sources": {
            source.name: _source_statistics([staged for staged in stages if staged.info.source == index], plans)
            for index, source in enumerate(recipe.config.sources)
        },
    }


def _source_statistics(stages: Sequence[StageSelection], splits: Iterable[str]) -> dict[str, Any]:
    filtered = cleaned.summed([staged.info.filtered for staged in stages])
    return {
        "dead_letters": sum(staged.info.dead_letters for staged in stages),
        "filtered": sum(filtered.values()),
        "filtered_by_reason": filtered,
        "duplicates": sum(staged.duplicates for staged in stages),
        "not_sampled": sum(staged.not_sampled for staged in stages),
        "repeated": sum(_repeated(staged) for staged in stages),
        "lines_removed_by_reason": cleaned.summed([staged.info.lines_removed for staged in stages]),
        "modified": sum(staged.info.modified for staged in stages),
        "characters_removed": sum(staged.info.characters_removed for staged in stages),
        **_text_totals([staged.counts(split) for staged in stages for split in splits]),
    }


def _text_totals(rows: Sequence[selection.Counts]) -> dict[str, int]:
    names = ("documents", "tokens", "characters", "bytes")
    return dict(zip(names, (sum(column) for column in zip(*rows, strict=True)), strict=True)) if rows else dict.fromkeys(names, 0)


def _split_statistics(recipe: Recipe, stages: Sequence[StageSelection], plan: SplitPlan, found: ShardStatistics) -> dict[str, Any]:
    vocabulary = recipe.vocabulary
    positions = found.examples * (recipe.packing.seq_len + recipe.packing.overlap)
    counts = found.token_counts
    top = np.argsort(-counts, kind="stable")[:_TOP_TOKENS]
    unknown = int(counts[vocabulary.unk_id]) if vocabulary.unk_id is not None else 0
    text = _text_totals([staged.counts(plan.split) for staged in stages])
    return {
        "documents": text["documents"],
        "characters": text["characters"],
        "bytes": text["bytes"],
        "text_tokens": text["tokens"],
        "tokens": plan.tokens,
        "added_tokens": plan.added_tokens,
        "tokens_in_examples": found.tokens,
        "overlapping_tokens": found.overlapping_tokens,
        "dropped_documents": plan.dropped_documents,
        "dropped_tokens": sum(plan.dropped_tokens.values()),
        "dropped_tokens_by_reason": dict(sorted(plan.dropped_tokens.items())),
        "examples": found.examples,
        "density": found.tokens / positions if positions else 0.0,
        "document_starts": found.document_starts,
        "segments": found.segments,
        "cut_documents": found.cut_documents,
        "special_tokens": found.special_tokens,
        "unknown_rate": unknown / found.tokens if found.tokens else 0.0,
        "vocabulary_used": int(np.count_nonzero(counts)) / vocabulary.vocab_size,
        "frequent_tokens": [[int(i), int(counts[i])] for i in top if counts[i]],
        "document_lengths": _histogram(plan.document_lengths),
        "segment_lengths": _histogram(found.segment_lengths.tolist()),
        "objective": found.to_json()["objective"],
    }


def _histogram(bins: Sequence[int]) -> dict[str, int]:
    """Counts by the largest length of a bin: "7" holds 4 to 7 tokens."""
    return {str((1 << digits) - 1): count for digits, count in enumerate(bins) if count}
