"""`tokenreel report` of a task's cache: what it consists of, as one HTML page that needs nothing else.

Tested in tests/tokenreel/commands/test_caches.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError
from tokenreel.format import naming, tfrecord
from tokenreel.format.cache_manifest import CacheManifest
from tokenreel.format.features import FeatureManifest
from tokenreel.format.ragged_records import RaggedFeature
from tokenreel.format.ragged_shards import RaggedRecords, lengths_of, map_file
from tokenreel.inspection.charts import column_chart, escape_text, format_number, histogram_bins, pre, section, table, whole_page
from tokenreel.storage import column_file, files

_AGAIN = "Copy the directory again, or make it again with --overwrite."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long a feature is in the examples of a split: its numbers, the texts of a list, or the bytes of a text.

    Attributes:
      examples: how many were measured.
      total: the sum of their lengths.
      shortest, longest: the extremes; 0 without examples.
      histogram: examples by the end of a range of lengths: 7 counts those of 4 to 7.
    """

    examples: int
    total: int
    shortest: int
    longest: int
    histogram: Mapping[int, int]

    @classmethod
    def of(cls, lengths: npt.NDArray[np.int64]) -> Lengths:
        """Measures int64 [n] lengths.

        >>> Lengths.of(np.array([0, 5, 7])).histogram
        {0: 1, 7: 2}
        """
        bits, counts = np.unique(np.frexp(lengths.astype(np.float64))[1], return_counts=True)  # a float holds lengths below 2**53
        histogram = {(1 << bit) - 1: count for bit, count in zip(bits.tolist(), counts.tolist(), strict=True)}
        shortest, longest = (int(lengths.min()), int(lengths.max())) if len(lengths) else (0, 0)
        return cls(examples=len(lengths), total=int(lengths.sum()), shortest=shortest, longest=longest, histogram=histogram)

    @classmethod
    def together(cls, parts: Iterable[Lengths]) -> Lengths:
        """Adds what was measured shard by shard."""
        filled = [part for part in parts if part.examples]
        histogram: Counter[int] = sum((Counter(part.histogram) for part in filled), Counter())
        return cls(
            examples=sum(part.examples for part in filled),
            total=sum(part.total for part in filled),
            shortest=min((part.shortest for part in filled), default=0),
            longest=max((part.longest for part in filled), default=0),
            histogram=dict(sorted(histogram.items())),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What the page tells of a split.

    Attributes:
      examples: their number.
      features: of the examples, by name.
      lengths: of each feature.
      statistics: what SeqIO counts.
      shards: (file, bytes) of each.
    """

    examples: int
    features: Mapping[str, RaggedFeature]
    lengths: Mapping[str, Lengths]
    statistics: Mapping[str, float]
    shards: Sequence[tuple[str, int]]


def of_manifest(directory: str, manifest: CacheManifest | FeatureManifest) -> dict[str, SplitFacts]:
    """Gathers what the page tells of a cache of ours, from the indexes of its shards alone.

    Raises:
      ManifestError: an index is missing, or not what was written.
    """
    made = {}
    for name, split in manifest.splits.items():
        lengths: dict[str, list[Lengths]] = {feature: [] for feature in split.features}
        for shard in split.shards:
            path = files.join(directory, shard.index.file)
            index = column_file.of_bytes(map_file(path, shard.index.bytes, shard.index.crc32c, _AGAIN))
            for feature, told in split.features.items():
                lengths[feature].append(Lengths.of(lengths_of(index, feature, told)))
        made[name] = SplitFacts(
            examples=split.examples,
            features=split.features,
            lengths={feature: Lengths.together(parts) for feature, parts in lengths.items()},
            statistics=split.statistics,
            shards=[(shard.data.file, shard.data.bytes) for shard in split.shards],
        )
    return made


def of_features(directory: str, manifest: FeatureManifest) -> dict[str, SplitFacts]:
    """Gathers what the page tells of features, perplexities among the statistics.

    Raises:
      ManifestError: an index or the statistics are missing, or not what was written.
    """
    path = files.join(directory, naming.STATISTICS)
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        data = b""
    if (len(data), tfrecord.crc32c(data)) != manifest.checksums()[naming.STATISTICS]:
        raise ManifestError(f"{path}: missing, or not what the manifest tells of. {_AGAIN}")
    told, made = json.loads(data)["splits"], {}
    for split, facts in of_manifest(directory, manifest).items():
        numbers = {name: value for name, value in told[split].items() if name != "sources"}
        numbers |= {
            f"{name} of {source}": value for source, found in told[split].get("sources", {}).items() for name, value in found.items()
        }
        made[split] = dataclasses.replace(facts, statistics=numbers)
    return made


def of_records(records: RaggedRecords, statistics: Mapping[str, int], shards: Sequence[tuple[str, int]]) -> SplitFacts:
    """Gathers what the page tells of a split that SeqIO wrote, which is read for it."""
    lengths = {name: Lengths.of(records.lengths(name)) for name in records.features}
    return SplitFacts(examples=len(records), features=records.features, lengths=lengths, statistics=statistics, shards=shards)


def render(title: str, about: str, splits: Mapping[str, SplitFacts], made_of: Mapping[str, Any]) -> str:
    """Makes the page.

    Args:
      title: what to call it.
      about: says in a line whose cache it is.
      splits: by name.
      made_of: what decides the examples: source files, steps, seed; nothing where that is not known.

    Returns:
      HTML, with nothing to load from elsewhere.
    """
    sections = [
        section("Splits", _split_table(splits)),
        section("Features", _feature_table(splits)),
        section("Lengths", _charts(splits)),
        section("Statistics", _statistics_table(splits)),
        section("What it was made of", f"<details><summary>source, steps, seed</summary>{pre(made_of)}</details>" if made_of else ""),
        section("Shards", _shard_table(splits)),
    ]
    return whole_page(title, f"<p>{escape_text(about)}</p>{''.join(sections)}")


def _split_table(splits: Mapping[str, SplitFacts]) -> str:
    rows = [
        (escape_text(name), f"{found.examples:,}", f"{len(found.shards):,}", f"{sum(size for _, size in found.shards) / 1e6:,.1f}")
        for name, found in splits.items()
    ]
    return table(["split", "examples", "shards", "MB"], rows)


def _feature_table(splits: Mapping[str, SplitFacts]) -> str:
    rows = []
    for split, found in splits.items():
        for name, feature in found.features.items():
            lengths = found.lengths[name]
            mean = f"{lengths.total / lengths.examples:,.1f}" if lengths.examples else "-"
            numbers = (f"{lengths.shortest:,}", mean, f"{lengths.longest:,}", f"{lengths.total:,}")
            rows.append((escape_text(split), escape_text(name), escape_text(feature.dtype), f"{feature.rank}", *numbers))
    head = ["split", "feature", "dtype", "axes", "shortest", "mean", "longest", "in all"]
    return table(head, rows, text_columns=(0, 1, 2))


def _charts(splits: Mapping[str, SplitFacts]) -> str:
    charts = [
        f"<div><h3>{escape_text(split)}: {escape_text(name)}</h3>"
        f"{column_chart(histogram_bins({str(upper): count for upper, count in lengths.histogram.items()}))}</div>"
        for split, found in splits.items()
        for name, lengths in found.lengths.items()
        if lengths.longest > lengths.shortest
    ]
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _statistics_table(splits: Mapping[str, SplitFacts]) -> str:
    names = sorted({name for found in splits.values() for name in found.statistics})
    rows = [(escape_text(name), *(format_number(found.statistics.get(name, "-")) for found in splits.values())) for name in names]
    return table(["", *splits], rows)


def _shard_table(splits: Mapping[str, SplitFacts]) -> str:
    rows = [(escape_text(name), f"{size:,}") for found in splits.values() for name, size in found.shards]
    return f"<details><summary>{len(rows):,} files</summary>{table(['file', 'bytes'], rows)}</details>"
