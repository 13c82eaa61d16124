"""The end of an extraction: adding up, checking that nothing was lost, and writing the manifest.

Tested in tests/pipelines/test_extract_features.py.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel.assembly import finishing
from tokenreel.assembly.output import Wanted
from tokenreel.assembly.split_range import SplitRange
from tokenreel.errors import BuildError, ConfigError
from tokenreel.extracting import document_scores
from tokenreel.extracting.feature_job import FeatureJob
from tokenreel.extracting.feature_shards import BuiltFeatures
from tokenreel.format import features as stored
from tokenreel.format import naming, ragged_records
from tokenreel.format.cache_manifest import CachedShard, SplitOfCache
from tokenreel.format.features import FeatureManifest
from tokenreel.format.manifest import FileInfo, ShardInfo, to_json
from tokenreel.storage import files, placing
from tokenreel.storage.placing import Placing
from tokenreel.version import __version__
from tokenreel.wording import plural

DOCUMENTS = 1 << 20  # that are gathered together
SORT_BY = ("split", "first")


@dataclasses.dataclass(frozen=True)
class ScoredDocuments:
    """A table of scores that was written: its place, bytes and CRC32C; documents, and what its sources hold, as JSON."""

    split: int
    first: int
    file: str
    bytes: int
    crc32c: int
    documents: int
    told: str

    def to_row(self) -> Mapping[str, Any]:
        """Gives it as a row of a table."""
        return dataclasses.asdict(self)


def is_ours(name: str) -> bool:
    """Says whether an extraction writes files of this name, or `tokenreel report` does."""
    plain = files.TEMPORARY.sub("", name)
    known = plain in (naming.MANIFEST, naming.STATISTICS, naming.REPORT) or naming.is_scores(plain)
    return known or naming.is_shard(plain) or naming.is_shard_index(plain) or name.startswith(f"{naming.STAGE}/")


def wanted(job: FeatureJob) -> Wanted:
    """Says what is to be made, for `output.make_ready`."""
    return Wanted(
        output=job.config.output,
        build=job.made_by,
        differences=lambda found: differences(job, found),
        read=stored.read,
        is_ours=is_ours,
    )


def differences(job: FeatureJob, found: FeatureManifest) -> list[str]:
    """Says in what finished features differ from what a job makes."""
    both: dict[str, tuple[Any, Any]] = {name: (found.identity.get(name), value) for name, value in job.identity.items()}
    both |= {"dataset": (found.dataset, job.fingerprint), "model": (dict(found.model), json.loads(json.dumps(dict(job.model))))}
    return [name for name, (old, new) in both.items() if old != new]


def estimate(job: FeatureJob) -> str:
    """Says how large the features will be.

    Raises:
      ConfigError: larger than they may.
    """
    examples = sum(count for _, count in job.splits)
    total = examples * job.example_bytes
    parts = ", ".join(f"{name} {examples * spec.nbytes / 1e9:,.3g} GB" for name, spec in job.specs.items())
    told = f"{plural(examples, 'example')}, at most {total / 1e9:,.3g} GB of features: {parts}"
    if total > job.config.max_gigabytes * 1e9:
        raise ConfigError(
            f"{told}. That is more than max_gigabytes, {job.config.max_gigabytes:g}. Pool layers or leave some out, store them as float16, "
            "take a smaller logits.top_k, name fewer splits, or set max_gigabytes to what you have room for."
        )
    return told


def score_documents(job: FeatureJob, plan: SplitRange, built: Sequence[BuiltFeatures]) -> ScoredDocuments:
    """Gathers the scores of a range of documents, from the shards of its split that hold some of them."""
    split = job.splits[plan.split][0]
    parts = [each.part for each in built if each.documents[0] < plan.last and each.documents[1] > plan.first]
    name = naming.scores(split, plan.index, plan.count)
    folder = job.work.shards.ready()
    path = job.work.unplaced(name)
    documents, told = document_scores.write_scores(path, [files.join(folder, part) for part in parts], plan.first, plan.last)
    found = files.checksum(path)
    if found is None:
        raise BuildError(f"{path}: vanished while the job was running. Run the same command again.")
    return ScoredDocuments(plan.split, plan.first, name, *found, documents, json.dumps(told, sort_keys=True))


def finish(job: FeatureJob, built: Mapping[int, Sequence[BuiltFeatures]], scored: Mapping[int, Sequence[ScoredDocuments]]) -> str:
    """Adds everything up, checks that nothing was lost, and moves everything to its place, last the manifest.

    Args:
      job: what was extracted.
      built: shards by number of the split, in order.
      scored: tables of scores likewise.

    Returns:
      the fingerprint of the features.

    Raises:
      BuildError: examples or tokens do not add up, or the output is another job's by now.
    """
    splits, statistics, placings = {}, {}, []
    for number, (split, examples) in enumerate(job.splits):
        shards = built[number]
        told = statistics[split] = _statistics(job, split, examples, shards, scored.get(number, ()))
        infos = []
        for each in shards:
            names = [make(split, each.shard, len(shards)) for make in (naming.shard, naming.shard_index)]
            data = ShardInfo(file=names[0], records=each.records, bytes=each.data[0], crc32c=each.data[1])
            infos.append(CachedShard(data=data, index=FileInfo(file=names[1], bytes=each.index[0], crc32c=each.index[1])))
            placings += [Placing(job.work.unplaced(name), name, *sums) for name, sums in zip(names, (each.data, each.index), strict=True)]
        splits[split] = SplitOfCache(
            features=ragged_records.merge_features(each.features for each in shards),
            shards=tuple(infos),
            statistics={name: told[name] for name in ("examples", document_scores.PREDICTED) if name in told},
        )
    tables = [each for found in scored.values() for each in found]
    small = [
        *(Placing(job.work.unplaced(each.file), each.file, each.bytes, each.crc32c) for each in tables),
        job.work.write(naming.STATISTICS, to_json({"splits": statistics})),
    ]
    manifest = FeatureManifest(
        dataset=job.fingerprint,
        model=json.loads(json.dumps(dict(job.model))),
        identity=job.identity,
        specs=job.specs,
        splits=dict(sorted(splits.items())),
        files=tuple(sorted(map(finishing.file_info_of, small), key=lambda info: info.file)),
        tokenreel_version=__version__,
    )
    known = {placing.name for placing in [*placings, *small]}
    placing.place(job.work.dataset, [*placings, *small], lambda name: is_ours(name) and name not in known and not _stays(name))
    placing.place(job.work.dataset, [job.work.write(naming.MANIFEST, manifest.to_bytes())])
    return manifest.fingerprint


def _stays(name: str) -> bool:
    return name == naming.REPORT or name.startswith(f"{naming.STAGE}/") or files.TEMPORARY.search(name) is not None


def _statistics(
    job: FeatureJob, split: str, examples: int, built: Sequence[BuiltFeatures], scored: Sequence[ScoredDocuments]
) -> dict[str, Any]:
    """Counts what a split holds.

    Raises:
      BuildError: examples or predicted tokens do not add up.
    """
    written = sum(each.records for each in built)
    if written != examples:
        raise BuildError(
            f"split {split!r}: {examples:,} examples were read, features of {written:,} written. Run the same command again, and let "
            "nothing else write there."
        )
    told: dict[str, Any] = {"examples": examples}
    if not job.asked.logits:
        return told
    told |= _rates(sum(each.predicted for each in built), math.fsum(each.logprob for each in built))
    if job.documents:
        sums: dict[str, list[list[Any]]] = {}
        for each in scored:
            for source, found in json.loads(each.told).items():
                sums.setdefault(source, []).append(found)
        told["sources"] = {
            source: {"documents": sum(each[0] for each in found)}
            | _rates(sum(each[1] for each in found), math.fsum(each[2] for each in found))
            for source, found in sorted(sums.items())
        }
        counted = sum(each[document_scores.PREDICTED] for each in told["sources"].values())
        if counted != told[document_scores.PREDICTED]:
            raise BuildError(
                f"split {split!r}: {told[document_scores.PREDICTED]:,} tokens were predicted, {counted:,} of them in documents. Run the "
                "same command again, and let nothing else write there."
            )
    return told


def _rates(predicted: int, logprob: float) -> dict[str, Any]:
    found: dict[str, Any] = {document_scores.PREDICTED: predicted, document_scores.LOGPROB: logprob}
    return found | ({document_scores.PERPLEXITY: math.exp(-logprob / predicted)} if predicted else {})
