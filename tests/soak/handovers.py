"""Files handed over by mistake: none may be lost in part, or become other text, with exit 0 and no line that says so.

A hand-over is a folder of files, a format that need not be theirs, and settings that need not fit. Each record holds a word of its own, so
that what a built dataset lacks is seen in its tokens, whatever a document is taken to be.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import json
import lzma
import pathlib
import random
import re
import sqlite3
import tarfile
import tempfile
import traceback
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import yaml
import zstandard

from pipelines import cli
from tokenreel.format import tfrecord
from tokenreel.loaders import load

RECORDS = 40
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "tfrecord", "lines", "paragraphs", "text")
WITH_FIELDS = FORMATS[:7]
SCREEN = 24  # lines that a message may have
# A line that tells of a loss has a number and one of these words; which of them is for the reader to judge.
TOLD = re.compile(r"\d.*(dead letter|left out|gave nothing|cannot be|holds no|lost|faults|unreadable)|(skipp|ignor|left out).*\d")
ADVICE = re.compile(
    r"[Ss]et sources\.0\.(text_field): (.+?)\.(?= |$)|[Ss]et (?:the source's |its |sources\.(?:0\.)?)(\w+)(?:: | to )"
    r"(?!one |that |those |the |another |more |names )`?('[^']+'|[\w|;,-]+?)`?(?=[,.;\s]|$)"
)
STEPS = 3  # of advice that may lead to each other


def words() -> list[str]:
    return [f"w{number:02}word" for number in range(RECORDS)]


def texts() -> list[str]:
    return [f"It reads {word}, quite café, number {number}." for number, word in enumerate(words())]


def example(text: str) -> bytes:
    """A `tf.train.Example` with one feature, `text`."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    return field(1, field(1, field(1, b"text") + field(2, field(1, field(1, text.encode())))))


def framed(records: list[bytes]) -> bytes:
    frame = io.BytesIO()
    for record in records:
        frame.write(tfrecord.frame(record))
    return frame.getvalue()


def table_bytes(kind: str) -> bytes:
    rows = pa.table({"text": texts(), "n": list(range(RECORDS))})
    sink = io.BytesIO()
    if kind == "parquet":
        pyarrow.parquet.write_table(rows, sink, row_group_size=10)
    elif kind == "feather":
        pyarrow.feather.write_feather(rows, sink, version=1)
    else:
        with (pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file)(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=10)
    return sink.getvalue()


def delimited(delimiter: str, name: str = "text") -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerow([name, "n"])
    writer.writerows((text, number) for number, text in enumerate(texts()))
    return sink.getvalue().encode()


def archive(kind: str, name: str, content: bytes) -> bytes:
    sink = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(name, content)
    else:
        with tarfile.open(fileobj=sink, mode="w:gz" if kind == "tar.gz" else "w") as packed:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def database(folder: pathlib.Path) -> bytes:
    path = folder / "made.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE rows (text TEXT)")
        base.executemany("INSERT INTO rows VALUES (?)", [(text,) for text in texts()])
        base.commit()
    content = path.read_bytes()
    path.unlink()
    return content


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Every kind of file, by a name that fits it."""
    records = [{"text": text, "n": number} for number, text in enumerate(texts())]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    jsonl = lines.encode()
    array = io.BytesIO()
    np.save(array, np.arange(10_000))
    return {
        "a.jsonl": jsonl,
        "a.json": json.dumps(records).encode(),
        "pretty.json": json.dumps(records, indent=2).encode(),
        "nested.json": json.dumps({"data": records}).encode(),
        "spread.jsonl": "\n".join(json.dumps(record, indent=1) for record in records).encode(),
        "a.csv": delimited(","),
        "semicolon.csv": delimited(";"),
        "a.tsv": delimited("\t"),
        "a.parquet": table_bytes("parquet"),
        "stream.arrow": table_bytes("stream"),
        "file.arrow": table_bytes("file"),
        "old.feather": table_bytes("feather") if hasattr(pyarrow.feather, "write_feather") else b"FEA1",
        "a.tfrecord": framed([example(text) for text in texts()]),
        "a.txt": "\n".join(texts()).encode(),
        "paragraphs.txt": "\n\n".join(texts()).encode(),
        "a.jsonl.gz": gzip.compress(jsonl),
        "a.jsonl.bz2": bz2.compress(jsonl),
        "a.jsonl.xz": lzma.compress(jsonl),
        "a.jsonl.zst": zstandard.compress(jsonl),
        "hidden": gzip.compress(jsonl),
        "UPPER.JSONL.GZ": gzip.compress(jsonl),
        "false.jsonl.gz": jsonl,
        "a.zip": archive("zip", "a.jsonl", jsonl),
        "a.tar": archive("tar", "a.jsonl", jsonl),
        "a.tar.gz": archive("tar.gz", "a.jsonl", jsonl),
        "utf16.jsonl": lines.encode("utf-16"),
        "utf16.txt": "\n".join(texts()).encode("utf-16-le"),
        "latin1.jsonl": lines.encode("latin-1"),
        "latin1.txt": "\n".join(texts()).encode("latin-1"),
        "cr.txt": "\r".join(texts()).encode(),
        "pointer.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n",
        "page.html": b"<!DOCTYPE html>\n<html><body>" + "".join(f"<p>{text}</p>\n" for text in texts()).encode() + b"</body></html>",
        "array.npy": array.getvalue(),
        "rows.sqlite": database(folder),
        "noise.bin": random.Random(0).randbytes(20_000),
        "empty.jsonl": b"",
        "header.csv": b"text,n\n",
    }


@dataclasses.dataclass(frozen=True)
class HandOver:
    """Files, and how a config names them.

    Attributes:
      files: their contents by name.
      settings: of the source.
    """

    files: Mapping[str, bytes]
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{', '.join(self.files)} as {dict(self.settings)}"


def hand_overs(folder: pathlib.Path) -> list[HandOver]:
    """All there are: any file as any format, wrong keys, files cut short, and folders of two kinds."""
    known = contents(folder)
    found = [HandOver({name: content}, {"format": kind}) for name, content in known.items() for kind in FORMATS]
    fitting = {"jsonl": "a.jsonl", "json": "a.json", "csv": "a.csv", "tsv": "a.tsv", "parquet": "a.parquet", "arrow": "stream.arrow"}
    fitting |= {"tfrecord": "a.tfrecord"}
    for kind, name in fitting.items():
        for settings in ({"text_field": "body"}, {"text_field": "n"}, {"id_field": "key"}, {"metadata_fields": ["url"]}):
            found.append(HandOver({name: known[name]}, {"format": kind, **settings}))
    for kind, name in {**fitting, "lines": "a.jsonl.gz", "text": "a.jsonl.xz", "paragraphs": "a.jsonl.zst"}.items():
        for share in (0.1, 0.5, 0.9, 0.99):
            content = known[name]
            found.append(HandOver({name: content[: int(len(content) * share)]}, {"format": kind}))
    for (kind, name), other in itertools.product(
        fitting.items(), ("a.txt", "a.jsonl.gz", "a.parquet", "stream.arrow", "a.zip", "noise.bin")
    ):
        if other != name:
            renamed = {f"first-{name}": known[name], f"second-{other}": known[other].replace(b"word", b"WORD")}
            found.append(HandOver(renamed, {"format": kind}))
    return found


@dataclasses.dataclass
class Result:
    """How hand-overs ended.

    Attributes:
      tried: how many.
      complete: all text was there.
      told: some was not, and a line said how much and why.
      refused: ended with an error of one screen.
      advised: of these, advice that could be followed, and worked.
      wrong: those that lost text without a word, made other text of it, ended with more than a screen or a traceback, or advised badly.
    """

    tried: int = 0
    complete: int = 0
    told: int = 0
    refused: int = 0
    advised: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        parts = (f"{self.complete:,} complete", f"{self.told:,} told", f"{self.refused:,} refused ({self.advised:,} by advice that worked)")
        return "\n".join([f"{self.tried:,} hand-overs: {', '.join(parts)}, {len(self.wrong):,} wrong", *self.wrong])

    @property
    def sound(self) -> bool:
        """Says whether nothing was lost in silence."""
        return not self.wrong


def build(folder: pathlib.Path, settings: Mapping[str, Any], number: int) -> tuple[int, str, pathlib.Path]:
    """Builds as the command does: exit code, what it printed, and the dataset."""
    output = folder.parent / f"dataset-{number}"
    config = {
        "output": str(output),
        "sources": [{"files": [str(folder)], **settings}],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 64, "last_example": "pad"},
        "order": {"mode": "source"},
    }
    path = folder.parent / f"config-{number}.yaml"
    path.write_text(yaml.safe_dump(config))
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(error):
        try:
            code = cli.main(["build", str(path)])
        except BaseException:
            code = -1
            traceback.print_exc()
    return code, error.getvalue(), output


def text_of(dataset: pathlib.Path) -> bytes:
    """All text of a dataset, as its tokens are."""
    tokens = load(str(dataset)).take(np.arange(len(load(str(dataset)))))["tokens"].reshape(-1)
    return bytes((tokens[(tokens >= 3) & (tokens < 259)] - 3).astype(np.uint8))


def lost(dataset: pathlib.Path, files: Mapping[str, bytes]) -> list[str]:
    """Names the words that a file begins with or holds, and that a dataset lacks; and says where it holds what is no text."""
    text = text_of(dataset)
    wanted = [
        form for word in words() for form in (word, word.replace("word", "WORD")) if any(holds(content, form) for content in files.values())
    ]
    missing = [word for word in wanted if word.encode() not in text]
    return missing + (["NUL bytes in the text"] if b"\0" in text else [])


def holds(content: bytes, word: str) -> bool:
    """Tells whether a file holds a word as it lies, or unpacked."""
    for unpack in (bytes, gzip.decompress, bz2.decompress, lzma.decompress):
        with contextlib.suppress(Exception):
            plain = unpack(content)
            if any(form in plain for form in (word.encode(), word.encode("utf-16-le"))):
                return True
    return False


def follow(error: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Makes the settings that a message advises; None where it advises none."""
    found = ADVICE.search(error)
    if found is not None and found[1]:
        return {**settings, found[1]: found[2]}
    if found is None or found[3] not in ("format", "text_field", "delimiter", "encoding", "id_field", "records"):
        return None
    return {**settings, found[3]: found[4].strip("'")}


def judge(hand_over: HandOver, folder: pathlib.Path, result: Result) -> str | None:
    """Builds from a hand-over; says what is wrong with how that ended."""
    code, error, dataset = build(folder, hand_over.settings, 0)
    lines = [line for line in error.splitlines() if line.strip()]
    if "Traceback" in error or code == -1:
        return f"a traceback: {lines[-1]}"
    if code == 0:
        missing = lost(dataset, hand_over.files)
        if not missing:
            result.complete += 1
            return None
        if any(TOLD.search(line) for line in lines):
            result.told += 1
            return None
        return f"exit 0 without a word, and {len(missing)} are missing: {', '.join(missing[:3])}"
    result.refused += 1
    message = [line for line in lines if "error:" in line or line.startswith("  ")]
    if not message or len(lines) > SCREEN:
        return f"{len(lines)} lines: {lines[-1] if lines else '(none)'}"
    settings: dict[str, Any] = dict(hand_over.settings)
    for step in range(1, STEPS + 1):
        advised = follow(error, settings)
        if advised is None or advised in (settings, hand_over.settings):
            break
        settings = advised
        code, error, dataset = build(folder, settings, step)
        if code == 0:
            result.advised += 1
            return None
    if settings == hand_over.settings:
        return None  # nothing was advised that a program could follow
    if "leave the file out" in message[0]:
        named = next((path for path in folder.iterdir() if str(path) in message[0]), None)
        if named is not None:
            named.unlink()
            code, error, dataset = build(folder, hand_over.settings, STEPS + 1)
            if code == 0 or not any(folder.iterdir()):
                result.advised += 1
                return None
    return f"advice that leads nowhere: {' '.join(message)[:300]} -- at last {settings}: {error[-300:]}"


def run(count: int, seed: int) -> Result:
    """Tries so many hand-overs, in an order of the seed's; all where there are no more."""
    result = Result()
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        known = hand_overs(root)
        random.Random(seed).shuffle(known)
        for number, hand_over in enumerate(known[:count]):
            folder = root / str(number) / "text"
            folder.mkdir(parents=True)
            for name, content in hand_over.files.items():
                (folder / name).write_bytes(content)
            wrong = judge(hand_over, folder, result)
            result.tried += 1
            if wrong:
                result.wrong.append(f"  {hand_over}: {wrong}")
    return result
