"""The numbers of a dataset, and edits of them that leave every checksum right."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.datasets import file_info
from tokenreel import keys
from tokenreel.format import manifest as manifests
from tokenreel.format import naming


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A number of a dataset.

    Attributes:
      file: that holds it.
      path: the keys that lead to it in a JSON file; column and row in a table.
    """

    file: str
    path: tuple[str | int, ...]

    @property
    def name(self) -> str:
        """What `trust` calls it: `FILE: dotted.path`."""
        if self.file.startswith("provenance/"):
            return f"provenance: {self.path[0]}"
        return f"{self.file}: {'.'.join(map(str, self.path))}"

    @property
    def kind(self) -> str:
        """Its name without those of splits, sources and files, and without the number of an entry in a list."""
        name = re.sub(r"\b(splits|sources)\.[^.]+", r"\1.*", self.name)
        name = re.sub(r"\b(special_names)\..+", r"\1.*", name)
        name = re.sub(r"(lengths|by_reason|documents_filtered|inputs|special_tokens|edits)\.[^.]+", r"\1.*", name)
        return re.sub(r"\.\d+\b", ".*", name)


def leaves(dataset: pathlib.Path) -> list[Leaf]:
    """Lists all numbers of the statistics, the manifest and the provenance tables."""
    found = []
    for file in (naming.STATISTICS, naming.MANIFEST):
        found += [Leaf(file, path) for path, _ in _numbers(json.loads((dataset / file).read_text(encoding="utf-8")))]
    for table in sorted((dataset / "provenance").glob("*.parquet")):
        rows = pq.read_table(table)
        for column in rows.column_names:
            if pa.types.is_integer(rows.schema.field(column).type):
                found += [Leaf(f"provenance/{table.name}", (column, row)) for row in range(len(rows))]
    return found


def _numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _numbers(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(item, (*path, index))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def other(value: float, draw: random.Random) -> float:
    """Draws another number: near, far, doubled, 0 or below 0."""
    if isinstance(value, float):
        options = [value + 0.25, value * 1.01 + 1e-9, value / 2, value + 1e-6, -value - 1.0]
    else:
        options = [value + 1, value - 1, 2 * value + 1, value + draw.randrange(2, 1000), 0, -value - 1]
    return draw.choice([option for option in options if option != value])


def edit(dataset: pathlib.Path, leaf: Leaf, draw: random.Random) -> tuple[float, float]:
    """Changes a number, and makes sizes, CRCs, digests and fingerprint fit again; gives the number before and after."""
    if leaf.file == naming.MANIFEST:
        body = json.loads((dataset / naming.MANIFEST).read_text(encoding="utf-8"))
        before, after = _replace(body, leaf.path, draw)
        _seal_manifest(dataset, body, leaf.path, after)
        return before, after
    if leaf.file == naming.STATISTICS:
        content = json.loads((dataset / leaf.file).read_text(encoding="utf-8"))
        before, after = _replace(content, leaf.path, draw)
        (dataset / leaf.file).write_bytes(manifests.to_json(content))
    else:
        before, after = _edit_cell(dataset / leaf.file, str(leaf.path[0]), int(leaf.path[1]), draw)
    body = json.loads((dataset / naming.MANIFEST).read_text(encoding="utf-8"))
    for info in body["files"]:
        if info["file"] == leaf.file:
            info.update(dataclasses.asdict(file_info(dataset, leaf.file)))
    _seal_manifest(dataset, body)
    return before, after


def _replace(content: Any, path: tuple[str | int, ...], draw: random.Random) -> tuple[float, float]:
    for key in path[:-1]:
        content = content[key]
    before = content[path[-1]]
    content[path[-1]] = other(before, draw)
    return before, content[path[-1]]


def _edit_cell(path: pathlib.Path, column: str, row: int, draw: random.Random) -> tuple[float, float]:
    rows = pq.read_table(path)
    index, values = rows.column_names.index(column), rows.column(column).to_pylist()
    before, values[row] = values[row], int(other(values[row], draw))
    field = rows.schema.field(column)
    pq.write_table(rows.set_column(index, field, pa.array(values, field.type)), path, compression="zstd", store_schema=False)
    return before, values[row]


def _seal_manifest(dataset: pathlib.Path, body: dict[str, Any], path: tuple[str | int, ...] = (), value: float | None = None) -> None:
    """Writes a manifest with right digests: what it derives from its own numbers as well, unless that is what was edited."""
    for name, split in body["splits"].items():
        if path != ("splits", name, "examples"):
            split["examples"] = sum(shard["records"] for shard in split["shards"])
    meaning = {name: body[name] for name in ("algorithms", "config", "record", "seed", "splits", "vocabulary")}
    body = {name: content for name, content in body.items() if name not in ("fingerprint", "manifest_digest")}
    body["fingerprint"] = keys.digest(manifests.FORMAT, manifests.FORMAT_VERSION, _canonical(meaning))
    body["manifest_digest"] = keys.digest(_canonical(body))
    text = json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (dataset / naming.MANIFEST).write_text(text, encoding="utf-8")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
