"""`tokenreel report`: what a dataset consists of, as one HTML page that needs nothing else.

The page is a function of the manifest, `statistics.json`, the dead letters and the vocabulary: the same dataset gives the same bytes.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tokenreel.errors import ManifestError, VocabularyError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.format.manifest import Manifest
from tokenreel.inspection import open_vocabulary, piece_name
from tokenreel.storage import files

_LETTERS_SHOWN = 20
_LETTERS_READ = 8 << 20  # bytes; a report does not read gigabytes of complaints
_PIECES_SHOWN = 25

_STYLE = """
:root { --ink: #1d2129; --soft: #5d6675; --line: #dfe3ea; --bar: #3b6fb6; --paper: #ffffff; --tile: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #333a47; --bar: #7aa7e0; --paper: #14171c; --tile: #1d2229; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
p { color: var(--soft); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow: auto; background: var(--tile); padding: .8rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.tile { background: var(--tile); border-radius: .4rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.3rem; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td.text { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg rect { fill: var(--bar); }
svg line { stroke: var(--line); }
"""


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
        _section("Where every document went", _conservation(manifest)),
        _section("Splits", _split_table(splits)),
        _section("Sources", _source_table(statistics.get("sources", {}))),
        _section("Lengths", _length_charts(splits)),
        _section("Most frequent tokens", _token_charts(splits, pieces or {})),
        _section("Special tokens: examples that hold at least one", _special_table(splits)),
        _section("Other numbers", _other_numbers(splits)),
        _section("Dead letters", _dead_letters(manifest, dead_letters)),
        _section("Records", _record_table(manifest)),
        _section("Settings", _pre(manifest.config)),
        _section("Shards", _shard_table(manifest)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><h1>{_text(title)}</h1>"
        f"<p>fingerprint <code>{_text(manifest.fingerprint)}</code>, built by tokenreel {_text(manifest.tokenreel_version)}</p>"
        f"{''.join(sections)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    """Makes a section of the page, or nothing where it has no content."""
    return f"<section><h2>{_text(title)}</h2>{content}</section>" if content else ""


def _text(value: object) -> str:
    """Escapes a value for HTML."""
    return html.escape(str(value))


def _number(value: Any) -> str:
    """Writes a number as a person reads it: thousands apart, ratios to four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _percent(value: float) -> str:
    """Writes a ratio as a percentage."""
    return f"{value:.2%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Iterable[int] = (0,)) -> str:
    """Makes a table of finished HTML cells."""
    texts = set(text_columns)
    body = "".join(
        "<tr>" + "".join(f'<td class="text">{cell}</td>' if i in texts else f"<td>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{"".join(f"<th>{_text(name)}</th>" for name in head)}</tr>{body}</table></div>' if body else ""


def _tiles(manifest: Manifest, splits: Mapping[str, Mapping[str, Any]]) -> str:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    positions = sum(split.examples for split in manifest.splits.values()) * (manifest.seq_len + manifest.overlap)
    tokens = sum(split.get("tokens_in_examples", 0) for split in splits.values())
    overlap = f" + {manifest.overlap} shared" if manifest.overlap else ""
    tiles = [
        ("documents", _number(manifest.totals.get("documents_written", 0))),
        ("tokens", _number(manifest.totals.get("tokens_written", 0))),
        ("examples", _number(sum(split.examples for split in manifest.splits.values()))),
        ("tokens an example", f"{manifest.seq_len:,}{overlap}"),
        ("of the positions filled", _percent(tokens / positions) if positions and tokens else "-"),
        ("in shards", f"{sum(shard.bytes for shard in shards) / 1e6:,.1f} MB"),
        ("vocabulary", f"{manifest.vocabulary.vocab_size:,}"),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{value}</b>{_text(name)}</div>" for name, value in tiles)}</div>'


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
    documents = _table(["documents", ""], [(_text(name), _number(count)) for name, count in cells if count is not None])
    names = [("in the kept documents", "tokens"), ("written", "tokens_written"), ("dropped at the end of a split", "tokens_dropped")]
    tokens = _table(["tokens", ""], [(_text(name), _number(totals[key])) for name, key in names if key in totals])
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
        cells = [_percent(found[key]) if key in _RATES else _number(found[key]) if key in found else "-" for _, key in _SPLIT_COLUMNS]
        tokens, documents = found.get("tokens", 0), found.get("documents", 0)
        cells.append(f"{tokens / documents:,.1f}" if documents else "-")
        cells.append(f"{found.get('bytes', 0) / tokens:.2f}" if tokens else "-")
        rows.append((_text(name), *cells))
    return _table(["split", *(title for title, _ in _SPLIT_COLUMNS), "tokens a document", "bytes a token"], rows)


def _source_table(sources: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ["documents", "characters", "bytes", "tokens", "filtered", "dead_letters"]
    optional = ("duplicates", "not_sampled", "repeated", "modified", "characters_removed")
    columns += [column for column in optional if any(found.get(column) for found in sources.values())]
    rows = [(_text(name), *(_number(found.get(column, "-")) for column in columns)) for name, found in sources.items()]
    return _table(["source", *(column.replace("_", " ") for column in columns)], rows) + _removed_lines(sources)


def _removed_lines(sources: Mapping[str, Mapping[str, Any]]) -> str:
    """Lists how many lines and paragraphs were taken out of documents, by source and reason."""
    found = {name: dict(source.get("lines_removed_by_reason", {})) for name, source in sources.items()}
    reasons = sorted({reason for counts in found.values() for reason in counts})
    rows = [(_text(name), *(_number(counts.get(reason, 0)) for reason in reasons)) for name, counts in found.items()]
    return _table(["lines taken out", *(reason.replace("_", " ") for reason in reasons)], rows) if reasons else ""


def _length_charts(splits: Mapping[str, Mapping[str, Any]]) -> str:
    charts = [
        f"<div><h3>{_text(split)}: {what}</h3>{_columns(_bins(found[key]))}</div>"
        for split, found in splits.items()
        for key, what in (("document_lengths", "tokens in a document"), ("segment_lengths", "tokens of a document in one example"))
        if found.get(key)
    ]
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _bins(histogram: Mapping[str, int]) -> list[tuple[str, int | float]]:
    """Lists every bin from the first to the last that holds something, named by the end of its range: "7" holds 4 to 7."""
    counts = {int(upper): count for upper, count in histogram.items()}
    bins: list[tuple[str, int | float]] = []
    upper = min(counts)
    while upper <= max(counts):
        lower = (upper + 1) // 2
        bins.append(
            (_short(lower) if lower >= upper else f"{_short(lower)}-{_short(upper if upper < 1000 else upper + 1)}", counts.get(upper, 0))
        )
        upper = 2 * upper + 1
    return bins


def _short(value: int) -> str:
    return f"{value}" if value < 1000 else f"{value / 1024:.3g}k" if value < 1_000_000 else f"{value / (1 << 20):.3g}M"


def _columns(bars: Sequence[tuple[str, int | float]]) -> str:
    """Draws a column chart as inline SVG; each column's number is above it."""
    width, height, foot = 480, 190, 34
    step = width / len(bars)
    top = max(count for _, count in bars) or 1
    parts = [f'<line x1="0" y1="{height - foot}" x2="{width}" y2="{height - foot}"/>']
    for i, (name, count) in enumerate(bars):
        tall = (height - foot - 18) * count / top
        x, y = i * step, height - foot - tall
        middle = x + step / 2
        parts.append(f"<g><title>{_text(name)}: {_number(count)}</title>")
        parts.append(f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" height="{tall:.1f}"/>')
        parts.append(f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{_compact(count) if count else ""}</text>')
        lean = f' transform="rotate(-35 {middle:.1f} {height - foot + 12})" text-anchor="end"' if len(bars) > 6 else ' text-anchor="middle"'
        parts.append(f'<text x="{middle:.1f}" y="{height - foot + 14}"{lean}>{_text(name)}</text></g>')
    return f'<svg viewBox="0 0 {width} {height + 12}" role="img">{"".join(parts)}</svg>'


def _compact(count: int | float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.3g}"


def _token_charts(splits: Mapping[str, Mapping[str, Any]], pieces: Mapping[int, str]) -> str:
    charts = []
    for split, found in splits.items():
        frequent = found.get("frequent_tokens", [])[:_PIECES_SHOWN]
        if frequent:
            total = max(1, found.get("tokens_in_examples", 1))
            rows = [(pieces.get(number, str(number)), count, f"{count:,} ({count / total:.2%})") for number, count in frequent]
            charts.append(f"<div><h3>{_text(split)}</h3>{_rows(rows)}</div>")
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _rows(bars: Sequence[tuple[str, int, str]]) -> str:
    """Draws a bar chart as inline SVG: name, bar, number."""
    width, line, left, right = 480, 18, 110, 110
    top = max(count for _, count, _ in bars) or 1
    parts = []
    for i, (name, count, label) in enumerate(bars):
        y, long = i * line, (width - left - right) * count / top
        parts.append(
            f'<g><title>{_text(name)}: {_text(label)}</title><text x="{left - 6}" y="{y + 13}" text-anchor="end">{_text(name[:18])}</text>'
        )
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{long:.1f}" height="{line - 6}"/>')
        parts.append(f'<text x="{left + long + 5:.1f}" y="{y + 13}">{_text(label)}</text></g>')
    return f'<svg viewBox="0 0 {width} {len(bars) * line}" role="img">{"".join(parts)}</svg>'


def _special_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    names = sorted({name for found in splits.values() for name in found.get("special_tokens", {})})
    rows = []
    for split, found in splits.items():
        examples = found.get("examples", 0)
        counts = [found.get("special_tokens", {}).get(name, 0) for name in names]
        rows.append((_text(split), *(f"{count:,} ({count / examples:.1%})" if examples else f"{count:,}" for count in counts)))
    return _table(["split", *names], rows) if names else ""


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
    rows = [(_text(name), *(_number(column.get(name, "-")) for column in columns)) for name in names]
    charts = [
        f"<div><h3>{_text(split)}: {_text(name)}</h3>{_columns(_means(values))}</div>"
        for split, column in zip(splits, columns, strict=True)
        for name, values in sorted(column.items())
        if _is_long(values)
    ]
    return _table(["", *splits], rows) + (f'<div class="charts">{"".join(charts)}</div>' if charts else "")


def _is_long(value: Any) -> bool:
    """Whether a value is a list that is drawn rather than written out, such as a count for each position."""
    return isinstance(value, list) and len(value) > 8


def _means(values: Sequence[int | float]) -> list[tuple[str, int | float]]:
    """Reduces values to at most 16 columns, each the mean of neighbours and named by the first of them."""
    step = -(-len(values) // 16)
    parts = [(start, values[start : start + step]) for start in range(0, len(values), step)]
    return [(_short(start), round(sum(part) / len(part), 3)) for start, part in parts]


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
    rows = [tuple(_text(letter.get(column, "")) for column in columns) for letter in letters[:_LETTERS_SHOWN]]
    return f"<p>{total:,} documents could not be read.{among} {_text(counts)}.</p>{_table(columns, rows, text_columns=(0, 1, 3, 4))}"


def _record_table(manifest: Manifest) -> str:
    layout = manifest.layout
    rows = [
        (_text(feature.name), _text(feature.dtype), " x ".join(map(str, feature.shape)) or "1", f"{offset:,}", f"{feature.nbytes:,}")
        for feature, offset in zip(layout.features, layout.offsets, strict=True)
    ]
    if manifest.record_format != manifests.FIXED:
        return _table(["feature", "meaning", "values"], [(name, "int64 list", shape) for name, _, shape, _, _ in rows])
    note = f"<p>{layout.record_bytes:,} bytes a record.</p>"
    return note + _table(["feature", "dtype", "shape", "first byte", "bytes"], rows)


def _pre(value: Any) -> str:
    """Shows a value as indented JSON."""
    return f"<pre>{_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))}</pre>"


def _shard_table(manifest: Manifest) -> str:
    rows = [
        (_text(shard.file), f"{shard.records:,}", f"{shard.bytes:,}", f"{shard.crc32c:08x}")
        for split in manifest.splits.values()
        for shard in split.shards
    ]
    return f"<details><summary>{len(rows):,} files</summary>{_table(['file', 'records', 'bytes', 'crc32c'], rows)}</details>"


def write(directory: str, output: str | None = None) -> str:
    """Writes the report of a dataset.

    Args:
      directory: holds the dataset, local or `gs://`.
      output: the HTML file; by default `report.html` in the dataset, which `tokenreel verify` knows as no part of it.

    Returns:
      where it was written.

    Raises:
      ManifestError: the dataset is incomplete or its statistics cannot be read.
    """
    manifest = manifests.read(directory)
    path = files.join(directory, naming.STATISTICS)
    try:
        statistics = json.loads(files.read_bytes(path))
    except (FileNotFoundError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}). Copy the dataset again from where it was built.") from error
    try:
        vocabulary = open_vocabulary(directory, manifest)
        splits = statistics.get("splits", {}).values()
        ids = {int(number) for found in splits for number, _ in found.get("frequent_tokens", [])}
        pieces = {number: piece_name(number, vocabulary) for number in ids}
    except VocabularyError as error:
        print(f"tokenreel: tokens are shown as numbers: {error}", file=sys.stderr)
        pieces = {}
    title = directory.rstrip("/").rpartition("/")[2] or directory
    page = render(manifest, statistics, title=title, pieces=pieces, dead_letters=_read_letters(directory, manifest))
    target = output or files.join(directory, naming.REPORT)
    files.write_bytes(target, page.encode())
    return target


def _read_letters(directory: str, manifest: Manifest) -> list[dict[str, Any]]:
    if all(info.file != naming.DEAD_LETTERS for info in manifest.files):
        return []
    data = files.read_bytes(files.join(directory, naming.DEAD_LETTERS), 0, _LETTERS_READ)
    lines = data.split(b"\n")[:-1]  # the last is empty, or cut short
    return [json.loads(line) for line in lines]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", help="dataset, local or gs://")
    parser.add_argument("--output", metavar="FILE", help=f"the page to write, in place of {naming.REPORT} in the dataset")


def run(arguments: argparse.Namespace) -> int:
    """Writes the report and prints where it is."""
    print(write(arguments.directory, arguments.output))
    return 0
