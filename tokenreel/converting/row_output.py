"""The end of a build of a task: adding up, checking that nothing was lost, and writing the manifest.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel.assembly import finishing
from tokenreel.assembly.output import Wanted
from tokenreel.caching.staging import Staged
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.converting.row_job import RowJob
from tokenreel.converting.row_plan import SplitRows
from tokenreel.converting.row_shards import BuiltRows
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import Manifest, SplitInfo, VocabularyInfo, to_json
from tokenreel.format.schema import Feature
from tokenreel.storage.placing import Placing
from tokenreel.version import __version__
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.loading import load_vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishedSplit:
    """A split whose shards are written.

    Attributes:
      staged: its stage files.
      rows: its rows, as they were planned.
      built: its shards, in order.
    """

    staged: Sequence[Staged]
    rows: SplitRows
    built: Sequence[BuiltRows]


def wanted(job: RowJob) -> Wanted:
    """Says what is to be built, for `output.make_ready`."""
    return Wanted(output=job.directory, build=job.made_by, differences=lambda found: _differences(job, found))


def _differences(job: RowJob, found: Manifest) -> list[str]:
    """Says in what a finished dataset differs from what a job makes."""
    old, new = dict(found.config), json.loads(json.dumps(_config(job)))
    both = {"settings": (_without_origin(old), _without_origin(new)), "seed": (found.seed, job.config.seed)}
    both["version"] = (dict(found.algorithms), job.identity["algorithms"])
    both["steps or files of the task"] = (old.get("made_of"), new["made_of"])
    return [name for name, (before, now) in both.items() if before != now]


def _without_origin(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "made_of"}


def _config(job: RowJob) -> dict[str, Any]:
    """Gives the settings that the manifest keeps, and what the rows were made of: the task's steps and files, and the converter."""
    made_of = {name: value for name, value in job.identity.items() if name not in ("algorithms", "settings", "seed")}
    return {**job.identity["settings"], "made_of": made_of}


def finish(job: RowJob, features: Sequence[Feature], splits: Mapping[str, FinishedSplit]) -> Manifest:
    """Adds everything up, checks that nothing was lost, and moves everything to its place, last the manifest.

    Raises:
      BuildError: rows do not add up, or the output is another job's by now.
    """
    statistics = {}
    for split, found in splits.items():
        written = sum(each.records for each in found.built)
        if written != found.rows.rows:
            raise BuildError(
                f"{job.name!r}, split {split!r}: {found.rows.rows:,} rows were planned, {written:,} written. Run the same command again, "
                "and let nothing else write there."
            )
        statistics[split] = _statistics(job, found)
    vocabulary, info = _vocabulary(job.load())
    texts = {naming.STATISTICS: to_json({"splits": statistics}), info.file: vocabulary.data}
    if job.config.seqio_view:
        texts |= finishing.view_of(features, {split: [each.info for each in found.built] for split, found in splits.items()})
    small = [job.work.write(name, data) for name, data in texts.items() if name is not None and data is not None]
    config = _config(job)
    manifest = Manifest(
        seq_len=max((shape[0] for _, shape in job.shapes.values() if shape), default=1),
        overlap=0,
        pad_id=0,
        record_format=job.config.shards.format,
        features=tuple(features),
        splits={split: SplitInfo(shards=tuple(each.info for each in found.built)) for split, found in sorted(splits.items())},
        vocabulary=info,
        config=json.loads(json.dumps(config)),
        seed=job.config.seed,
        algorithms=job.identity["algorithms"],
        totals={
            "task_examples": sum(each["task_examples"] for each in statistics.values()),
            "examples": sum(each["examples"] for each in statistics.values()),
        },
        files=finishing.listed([finishing.file_info_of(each) for each in small], view=job.config.seqio_view),
        tokenreel_version=__version__,
    )
    shards = [
        Placing(job.work.unplaced(each.file), each.file, each.bytes, each.crc32c) for found in splits.values() for each in found.built
    ]
    return finishing.place(job.work, manifest, [*shards, *small])


def _statistics(job: RowJob, found: FinishedSplit) -> dict[str, Any]:
    """Counts what a split holds: rows, the task's examples in them, the values of each feature, and how full the rows are."""
    prepared: PreparedTask = job.load()
    told: dict[str, Any] = {"examples": found.rows.rows, "task_examples": sum(each.records for each in found.staged)}
    if prepared.stages_rows:
        return told
    lengths = {name: size for name, size in prepared.lengths.items() if isinstance(size, int)}
    values = {name: found.rows.values.get(name, 0) for name in lengths}
    told["values"] = values
    told["density"] = sum(values.values()) / (found.rows.rows * sum(lengths.values())) if lengths else 0.0
    return told


def _vocabulary(prepared: PreparedTask) -> tuple[Vocabulary, VocabularyInfo]:
    """Gives the vocabulary that decodes the rows: that of `targets`, or of the first feature; ids alone where the features' differ.

    A vocabulary of somebody's own is told as ids too, which decode to numbers.
    """
    features = prepared.output_features
    chosen = features.get("targets", next(iter(features.values()))).vocabulary
    kinds = {"ByteVocabulary": "bytes", "SentencePieceVocabulary": "sentencepiece"}
    kind = kinds.get(type(chosen).__name__) if type(chosen).__module__.startswith("tokenreel.") else None
    if any(feature.vocabulary != chosen for feature in features.values()):
        kind = None
    vocabulary: Any = None
    options: dict[str, Any] = {}
    if kind == "bytes":
        options = {"extra_ids": chosen.extra_ids} if chosen.extra_ids else {}
        vocabulary = load_vocabulary(kind, **options)
    elif kind == "sentencepiece":
        vocabulary = load_vocabulary(kind, naming.vocabulary(kind), data=chosen.sp_model)
    if kind is None or vocabulary.pad_id not in (None, 0):  # rows are padded with 0
        kind = "pass_through"
        options = {"vocab_size": max(1, *(_size(feature.vocabulary) for feature in features.values())), "pad_id": 0}
        vocabulary = load_vocabulary(kind, **options)
    file = naming.vocabulary(kind) if vocabulary.data is not None else None
    ids = {name: getattr(vocabulary, name) for name in ("pad_id", "bos_id", "eos_id", "unk_id")}
    fingerprint = vocabulary.fingerprint
    return vocabulary, VocabularyInfo(
        kind=kind, fingerprint=fingerprint, vocab_size=vocabulary.vocab_size, file=file, options=options, **ids
    )


def _size(vocabulary: Any) -> int:
    """Counts the ids of a vocabulary; 1 where it does not tell."""
    try:
        return max(1, int(vocabulary.vocab_size))
    except (NotImplementedError, TypeError, ValueError):
        return 1
