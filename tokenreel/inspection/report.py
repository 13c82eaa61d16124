"""`tokenreel report`: what a dataset consists of, as one HTML page that needs nothing else.

The page is a function of the manifest, `statistics.json`, the dead letters and the vocabulary: the same dataset gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokenreel.errors import ManifestError, VocabularyError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, sidecars
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.charts import (
    bar_chart,
    column_chart,
    escape_text,
    format_number,
    format_percent,
    histogram_bins,
    means,
    pre,
    section,
    table,
    whole_page,
)
from tokenreel.inspection.examples import piece_name
from tokenreel.inspection.opening import open_vocabulary
from tokenreel.storage import files
from tokenreel.wording import plain

_LETTERS_SHOWN = 20
_LETTERS_READ = 8 << 20  # bytes; a report does not read gigabytes of complaints
_PIECES_SHOWN = 25


def render(
    manifest: Manifest,
    statistics: Mapping[str, Any],
    *,
    title: str,
    pieces: Mapping[int, str] | None = None,
    dead_letters: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Makes the page.

    Args:
      manifest: describes the dataset.
      statistics: the content of its `statistics.json`.
      title: what to call it.
      pieces: texts of token ids; the ids alone are shown without.
      dead_letters: lines of the dead-letter file.

    Returns:
      HTML, with nothing to load from elsewhere.
    """
    splits: Mapping[str, Mapping[str, Any]] = statistics.get("splits", {})
    sections = [
        _tiles(manifest, splits),
        section("Where every document went", _conservation(manifest)),
        section("Splits", _split_table(splits)),
        section("Sources", _source_table(statistics.get("sources", {}))),
        section("Lengths", _length_charts(splits)),
        section("Most frequent tokens", _token_charts(splits, pieces or {})),
        section("Special tokens: examples that hold at least one", _special_table(splits)),
        section("Other numbers", _other_numbers(splits)),
        section("Dead letters", _dead_letters(manifest, dead_letters)),
        section("Records", _record_table(manifest)),
        section("Settings", pre(manifest.config)),
        section("Shards", _shard_table(manifest)),
    ]
    told = f"fingerprint <code>{escape_text(manifest.fingerprint)}</code>, built by tokenreel {escape_text(manifest.tokenreel_version)}"
    return whole_page(title, f"<p>{told}</p>{''.join(sections)}")


def _tiles(manifest: Manifest, splits: Mapping[str, Mapping[str, Any]]) -> str:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    positions = sum(split.examples for split in manifest.splits.values()) * (manifest.seq_len + manifest.overlap)
    tokens = sum(split.get("tokens_in_examples", 0) for split in splits.values())
    overlap = f" + {manifest.overlap} shared" if manifest.overlap else ""
    tiles = [
        ("documents", format_number(manifest.totals.get("documents_written", 0))),
        ("tokens", format_number(manifest.totals.get("tokens_written", 0))),
        ("examples", format_number(sum(split.examples for split in manifest.splits.values()))),
        ("tokens an example", f"{manifest.seq_len:,}{overlap}"),
        ("of the positions filled", format_percent(tokens / positions) if positions and tokens else "-"),
        ("in shards", f"{sum(shard.bytes for shard in shards) / 1e6:,.1f} MB"),
        ("vocabulary", f"{manifest.vocabulary.vocab_size:,}"),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{value}</b>{escape_text(name)}</div>" for name, value in tiles)}</div>'


def _conservation(manifest: Manifest) -> str:
    totals = manifest.totals
    rows = [("read", "documents_read"), ("written", "documents_written"), ("dropped at the end of a split", "documents_dropped")]
    cells = [(name, totals.get(key)) for name, key in rows]
    cells += [(f"filtered: {reason.replace('_', ' ')}", count) for reason, count in dict(totals.get("documents_filtered", {})).items()]
    optional = [
        ("duplicate of another", "documents_duplicate"),
        ("not sampled (epochs below 1)", "documents_not_sampled"),
        ("repeats among those written (epochs above 1)", "documents_repeated"),
    ]
    cells += [(name, totals[key]) for name, key in optional if totals.get(key)]
    cells.append(("could not be read (dead letters)", totals.get("documents_dead_lettered")))
    documents = table(["documents", ""], [(escape_text(name), format_number(count)) for name, count in cells if count is not None])
    names = [("in the kept documents", "tokens"), ("written", "tokens_written"), ("dropped at the end of a split", "tokens_dropped")]
    tokens = table(["tokens", ""], [(escape_text(name), format_number(totals[key])) for name, key in names if key in totals])
    return f'<div class="charts"><div>{documents}</div><div>{tokens}</div></div>'


_SPLIT_COLUMNS = (
    ("documents", "documents"),
    ("characters", "characters"),
    ("tokens", "tokens"),
    ("examples", "examples"),
    ("documents cut", "cut_documents"),
    ("unknown", "unknown_rate"),
    ("vocabulary used", "vocabulary_used"),
    ("filled", "density"),
)

_RATES = ("unknown_rate", "vocabulary_used", "density")


def _split_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, found in splits.items():
        cells = [(format_percent if key in _RATES else format_number)(found[key]) if key in found else "-" for _, key in _SPLIT_COLUMNS]
        tokens, documents = found.get("tokens", 0), found.get("documents", 0)
        cells.append(f"{tokens / documents:,.1f}" if documents else "-")
        cells.append(f"{found.get('bytes', 0) / tokens:.2f}" if tokens else "-")
        rows.append((escape_text(name), *cells))
    return table(["split", *(title for title, _ in _SPLIT_COLUMNS), "tokens a document", "bytes a token"], rows)


def _source_table(sources: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ["documents", "characters", "bytes", "tokens", "filtered", "dead_letters"]
    optional = ("duplicates", "not_sampled", "repeated", "modified", "characters_removed")
    columns += [column for column in optional if any(found.get(column) for found in sources.values())]
    rows = [(escape_text(name), *(format_number(found.get(column, "-")) for column in columns)) for name, found in sources.items()]
    return table(["source", *(column.replace("_", " ") for column in columns)], rows) + _removed_lines(sources)


def _removed_lines(sources: Mapping[str, Mapping[str, Any]]) -> str:
    """Lists how many lines and paragraphs were taken out of documents, by source and reason."""
    found = {name: dict(source.get("lines_removed_by_reason", {})) for name, source in sources.items()}
    reasons = sorted({reason for counts in found.values() for reason in counts})
    rows = [(escape_text(name), *(format_number(counts.get(reason, 0)) for reason in reasons)) for name, counts in found.items()]
    return table(["lines taken out", *(reason.replace("_", " ") for reason in reasons)], rows) if reasons else ""


def _length_charts(splits: Mapping[str, Mapping[str, Any]]) -> str:
    charts = [
        f"<div><h3>{escape_text(split)}: {what}</h3>{column_chart(histogram_bins(found[key]))}</div>"
        for split, found in splits.items()
        for key, what in (("document_lengths", "tokens in a document"), ("segment_lengths", "tokens of a document in one example"))
        if found.get(key)
    ]
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _token_charts(splits: Mapping[str, Mapping[str, Any]], pieces: Mapping[int, str]) -> str:
    charts = []
    for split, found in splits.items():
        frequent = found.get("frequent_tokens", [])[:_PIECES_SHOWN]
        if frequent:
            total = max(1, found.get("tokens_in_examples", 1))
            rows = [(pieces.get(number, str(number)), count, f"{count:,} ({count / total:.2%})") for number, count in frequent]
            charts.append(f"<div><h3>{escape_text(split)}</h3>{bar_chart(rows)}</div>")
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _special_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    names = sorted({name for found in splits.values() for name in found.get("special_tokens", {})})
    rows = []
    for split, found in splits.items():
        examples = found.get("examples", 0)
        counts = [found.get("special_tokens", {}).get(name, 0) for name in names]
        rows.append((escape_text(split), *(f"{count:,} ({count / examples:.1%})" if examples else f"{count:,}" for count in counts)))
    return table(["split", *names], rows) if names else ""


_SHOWN_ELSEWHERE = {
    *(key for _, key in _SPLIT_COLUMNS),
    "bytes",
    "document_lengths",
    "frequent_tokens",
    "segment_lengths",
    "special_tokens",
}


def _other_numbers(splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Shows whatever else the statistics tell, such as what an objective counted."""
    columns = [dict(_flat({key: value for key, value in found.items() if key not in _SHOWN_ELSEWHERE})) for found in splits.values()]
    names = sorted({name for column in columns for name in column if not _is_long(column[name])})
    rows = [(escape_text(name), *(format_number(column.get(name, "-")) for column in columns)) for name in names]
    charts = [
        f"<div><h3>{escape_text(split)}: {escape_text(name)}</h3>{column_chart(means(values))}</div>"
        for split, column in zip(splits, columns, strict=True)
        for name, values in sorted(column.items())
        if _is_long(values)
    ]
    return table(["", *splits], rows) + (f'<div class="charts">{"".join(charts)}</div>' if charts else "")


def _is_long(value: Any) -> bool:
    """Says whether a value is a list that is drawn rather than written out, such as a count for each position."""
    return isinstance(value, list) and len(value) > 8


def _flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in numbers.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}: ")
        else:
            yield name, json.dumps(value) if isinstance(value, list) and not _is_long(value) else value


def _dead_letters(manifest: Manifest, letters: Sequence[Mapping[str, Any]]) -> str:
    if not letters:
        return ""
    reasons = Counter(str(letter.get("reason", "?")) for letter in letters)
    total = int(manifest.totals.get("documents_dead_lettered", len(letters)))
    counts = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in reasons.most_common())
    among = f" Among the first {len(letters):,}:" if len(letters) < total else ""
    columns = ("source", "file", "line", "reason", "message")
    rows = [tuple(escape_text(letter.get(column, "")) for column in columns) for letter in letters[:_LETTERS_SHOWN]]
    return f"<p>{total:,} documents could not be read.{among} {escape_text(counts)}.</p>{table(columns, rows, text_columns=(0, 1, 3, 4))}"


def _record_table(manifest: Manifest) -> str:
    fixed_format = manifest.fixed_format
    rows = [
        (
            escape_text(feature.name),
            escape_text(feature.dtype),
            " x ".join(map(str, feature.shape)) or "1",
            f"{offset:,}",
            f"{feature.nbytes:,}",
        )
        for feature, offset in zip(fixed_format.features, fixed_format.offsets, strict=True)
    ]
    if manifest.record_format != manifests.FIXED:
        return table(["feature", "meaning", "values"], [(name, "int64 list", shape) for name, _, shape, _, _ in rows])
    note = f"<p>{fixed_format.record_bytes:,} bytes a record.</p>"
    return note + table(["feature", "dtype", "shape", "first byte", "bytes"], rows)


def _shard_table(manifest: Manifest) -> str:
    rows = [
        (escape_text(shard.file), f"{shard.records:,}", f"{shard.bytes:,}", f"{shard.crc32c:08x}")
        for split in manifest.splits.values()
        for shard in split.shards
    ]
    return f"<details><summary>{len(rows):,} files</summary>{table(['file', 'records', 'bytes', 'crc32c'], rows)}</details>"


def write(directory: str, output: str | None = None) -> str:
    """Writes the report of a dataset.

    Args:
      directory: holds the dataset, local or `gs://`.
      output: the HTML file; by default `report.html` in the dataset, which `tokenreel verify` knows as no part of it.

    Returns:
      where it was written.

    Raises:
      ManifestError: the dataset is incomplete, or a file that the page is made of is not what was written.
      StorageError: a file cannot be read.
    """
    manifest = manifests.read(directory)
    try:
        page = _make_page(directory, manifest)
    except FileNotFoundError as error:
        raise ManifestError(str(error)) from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # What an altered number leads to has no end, as in `verification.differences`.
        name = files.join(directory, naming.STATISTICS)
        raise ManifestError(f"{name} or {naming.DEAD_LETTERS}: not what a build writes ({error!r}). {sidecars.COPY_AGAIN}") from error
    target = output or files.join(directory, naming.REPORT)
    files.write_bytes(target, page.encode())
    return target


def _make_page(directory: str, manifest: Manifest) -> str:
    statistics = sidecars.read_json(directory, manifest, naming.STATISTICS)
    try:
        vocabulary = open_vocabulary(directory, manifest)
        splits = statistics.get("splits", {}).values()
        ids = {int(number) for found in splits for number, _ in found.get("frequent_tokens", [])}
        pieces = {number: piece_name(number, vocabulary) for number in ids}
    except VocabularyError as error:
        print(f"tokenreel: tokens are shown as numbers: {plain(error)}", file=sys.stderr)
        pieces = {}
    title = directory.rstrip("/").rpartition("/")[2] or directory
    return render(manifest, statistics, title=title, pieces=pieces, dead_letters=_read_letters(directory, manifest))


def _read_letters(directory: str, manifest: Manifest) -> list[dict[str, Any]]:
    if sidecars.find(manifest, naming.DEAD_LETTERS) is None:
        return []
    with sidecars.open_checked(directory, manifest, naming.DEAD_LETTERS) as file:
        data = file.read(_LETTERS_READ)
    lines = data.split(b"\n")[:-1]  # the last is empty, or cut short
    return [json.loads(line) for line in lines]
