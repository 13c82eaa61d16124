"""Python's own `csv` and `json`, in every dialect."""

import csv
import gzip
import json
import pathlib
from collections.abc import Iterator

from tests.writers.nasty import IDS, TEXTS, Case, main

DIALECTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "excel": ({"dialect": "excel"}, {}),
    "unix": ({"dialect": "unix"}, {}),
    "tabs": ({"dialect": "excel-tab"}, {"delimiter": "\t"}),
    "escaped": ({"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}, {"escape": "\\"}),
}


def write(folder: pathlib.Path) -> Iterator[Case]:
    for name, (options, settings) in DIALECTS.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, **options)
            writer.writerow(["id", "text"])
            writer.writerows(zip(IDS, TEXTS, strict=True))
        yield Case(f"{name}.csv", "csv", settings)
    records = [{"id": key, "text": text} for key, text in zip(IDS, TEXTS, strict=True)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "ascii.jsonl").write_text(lines)
    yield Case("ascii.jsonl", "jsonl", {})
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        (folder / f"{encoding}.jsonl").write_text(
            "".join(json.dumps(record, ensure_ascii=False) + "\r\n" for record in records), encoding=encoding, newline=""
        )
        yield Case(f"{encoding}.jsonl", "jsonl", {} if encoding.startswith("utf-8") else {"encoding": encoding})
    (folder / "members.jsonl.gz").write_bytes(b"".join(gzip.compress(line.encode()) for line in lines.splitlines(keepends=True)))
    yield Case("members.jsonl.gz", "jsonl", {})
    (folder / "indented.json").write_text(json.dumps({"data": records}, indent=4))
    yield Case("indented.json", "json", {"records": "data"})
    (folder / "concatenated.json").write_text("".join(json.dumps(record, indent=1) for record in records))
    yield Case("concatenated.json", "json", {})


if __name__ == "__main__":
    main(write)
