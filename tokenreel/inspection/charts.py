"""Draws tables and bars for the report, as HTML without scripts."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenreel.wording import plain

STYLE = """
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


def whole_page(title: str, content: str) -> str:
    """Makes a page of its title and what stands below, with nothing to load from elsewhere."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape_text(title)}</title><style>{STYLE}</style></head><body><h1>{escape_text(title)}</h1>"
        f"{content}</body></html>\n"
    )


def section(title: str, content: str) -> str:
    """Makes a section of the page, or nothing where it has no content."""
    return f"<section><h2>{escape_text(title)}</h2>{content}</section>" if content else ""


def escape_text(value: object) -> str:
    """Escapes a value for HTML, and in it what turns the order of what is shown: a page has no use for it either."""
    return html.escape(plain(value))


def format_number(value: Any) -> str:
    """Writes a number as a person reads it: thousands apart, ratios to four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape_text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def format_percent(value: float) -> str:
    """Writes a ratio as a percentage."""
    return f"{value:.2%}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Iterable[int] = (0,)) -> str:
    """Makes a table of finished HTML cells."""
    texts = set(text_columns)
    body = "".join(
        "<tr>" + "".join(f'<td class="text">{cell}</td>' if i in texts else f"<td>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><tr>{"".join(f"<th>{escape_text(name)}</th>" for name in head)}</tr>{body}</table></div>' if body else ""
    )


def histogram_bins(histogram: Mapping[str, int]) -> list[tuple[str, int | float]]:
    """Lists every bin from the first to the last that holds something, named by the end of its range: "7" holds 4 to 7."""
    counts = {int(upper): count for upper, count in histogram.items()}
    bins: list[tuple[str, int | float]] = []
    upper = min(counts)
    if upper < 0:
        raise ValueError(f"a histogram has a bin that ends at {upper}")
    while upper <= max(counts):
        lower = (upper + 1) // 2
        bins.append(
            (_short(lower) if lower >= upper else f"{_short(lower)}-{_short(upper if upper < 1000 else upper + 1)}", counts.get(upper, 0))
        )
        upper = 2 * upper + 1
    return bins


def _short(value: int) -> str:
    return f"{value}" if value < 1000 else f"{value / 1024:.3g}k" if value < 1_000_000 else f"{value / (1 << 20):.3g}M"


def column_chart(bars: Sequence[tuple[str, int | float]]) -> str:
    """Draws a column chart as inline SVG; each column's number is above it."""
    width, height, foot = 480, 190, 34
    step = width / len(bars)
    top = max(count for _, count in bars) or 1
    parts = [f'<line x1="0" y1="{height - foot}" x2="{width}" y2="{height - foot}"/>']
    for i, (name, count) in enumerate(bars):
        tall = (height - foot - 18) * count / top
        x, y = i * step, height - foot - tall
        middle = x + step / 2
        parts.append(f"<g><title>{escape_text(name)}: {format_number(count)}</title>")
        parts.append(f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" height="{tall:.1f}"/>')
        parts.append(f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{_compact(count) if count else ""}</text>')
        lean = f' transform="rotate(-35 {middle:.1f} {height - foot + 12})" text-anchor="end"' if len(bars) > 6 else ' text-anchor="middle"'
        parts.append(f'<text x="{middle:.1f}" y="{height - foot + 14}"{lean}>{escape_text(name)}</text></g>')
    return f'<svg viewBox="0 0 {width} {height + 12}" role="img">{"".join(parts)}</svg>'


def _compact(count: int | float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.3g}"


def bar_chart(bars: Sequence[tuple[str, int, str]]) -> str:
    """Draws a bar chart as inline SVG: name, bar, number."""
    width, line, left, right = 480, 18, 110, 110
    top = max(count for _, count, _ in bars) or 1
    parts = []
    for i, (name, count, label) in enumerate(bars):
        y, long = i * line, (width - left - right) * count / top
        parts.append(f"<g><title>{escape_text(name)}: {escape_text(label)}</title>")
        parts.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{escape_text(name[:18])}</text>')
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{long:.1f}" height="{line - 6}"/>')
        parts.append(f'<text x="{left + long + 5:.1f}" y="{y + 13}">{escape_text(label)}</text></g>')
    return f'<svg viewBox="0 0 {width} {len(bars) * line}" role="img">{"".join(parts)}</svg>'


def means(values: Sequence[int | float]) -> list[tuple[str, int | float]]:
    """Reduces values to at most 16 columns, each the mean of neighbours and named by the first of them."""
    step = -(-len(values) // 16)
    parts = [(start, values[start : start + step]) for start in range(0, len(values), step)]
    return [(_short(start), round(sum(part) / len(part), 3)) for start, part in parts]


def pre(value: Any) -> str:
    """Shows a value as indented JSON."""
    return f"<pre>{escape_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))}</pre>"
