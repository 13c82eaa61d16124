"""The inputs of `hostile`: for every reader a sound input, ways to damage it, and what must hold of how it is read."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gzip
import io
import json
import pathlib
import random
import shutil
import tarfile
import typing
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests import verification_datasets as datasets
from tests.reading import read
from tokenreel import commands, keys, load
from tokenreel.config import reading
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import TokenreelError
from tokenreel.format import example_codec, naming, tfrecord
from tokenreel.format import manifest as manifests
from tokenreel.format.wire import delimited
from tokenreel.inspection.verification import verify
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.characters import write_character_model
from tokenreel.vocabularies.loading import load_vocabulary

Kind = Callable[[pathlib.Path, random.Random], str]
"""Makes one input in an empty directory and has it read: "taken" or "refused". Anything that it raises is a fault."""

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/datasets/v2"
TEXTS = ["one document", 'two "quoted", with\ttabs', "drei Wörter mehr ▁", "", "four\nlines\r\nof it", "x" * 300] * 5
_STREAMS = ("jsonl", "json", "csv", "tsv", "lines", "paragraphs", "text", "warc", "tar")  # what is read as one is compressed now and then
FORMATS: tuple[str, ...] = typing.get_args(typing.get_type_hints(SourceConfig)["format"])
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1.5, 1 << 31, 1 << 40, 1 << 63, 1 << 70, 1e308, "", "x", "../x", "/etc/passwd", "\x1b[2J\u202e", [], {}, [[]],
    [0] * 300, {"a": {"b": []}}, "9" * 500, [1 << 40], [-1], "\0", "wrap", "fixed", "int64", "bytes",
)  # fmt: skip


def prepare(folder: pathlib.Path) -> dict[str, Kind]:
    """Makes the sound inputs; gives every kind of hostile input by its name. Formats that come to the settings join by themselves."""
    sound = folder / "sound"
    sound.mkdir()
    letters = sorted({letter for text in datasets.texts(100) for letter in text})
    write_character_model(str(sound / "model.json"), letters, "none")
    for record_format in ("fixed", "int64_list"):
        vocabulary = ("characters", str(sound / "model.json"))
        datasets.make(sound / record_format, documents={"train": 25}, record_format=record_format, vocabulary=vocabulary, dead_letters=2)
    kinds: dict[str, Kind] = {}
    for name in FORMATS:
        kinds[f"source {name}"] = _Source(name, name, _write_source(name))
    for name in ("jsonl", "text", "tsv", "warc"):
        members = {f"{number}.{name}": _write_source(name) for number in range(2)} | {"folder/empty": b"", ".hidden": b"no text"}
        kinds[f"tar of {name}"] = _Source(name, "tar", _tar(members))
        kinds[f"zip of {name}"] = _Source(name, "zip", _zip(members))
    for record_format in ("fixed", "int64_list"):
        for what in ("manifest", "bytes", "statistics"):
            kinds[f"{what} of {record_format}"] = _Dataset(sound / record_format, what)
    kinds["config"] = _Config([*sorted((ROOT / "configs").glob("*.yaml"))], JobConfig)
    kinds["config of a tokenizer"] = _Config(sorted((ROOT / "configs/tokenizers").glob("*.yaml")), TokenizerJobConfig)
    models = {"sentencepiece": (GOLDEN / "demo/vocabulary.model").read_bytes(), "characters": (sound / "model.json").read_bytes()}
    models["huggingface"] = _tokenizer_json()
    for name, model in models.items():
        kinds[f"model {name}"] = _Model(name, model)
        (sound / "model").write_bytes(model)
        _encode(load_vocabulary(name, str(sound / "model")))  # compiles the kernels here, once for all children
    kinds["state"] = _State(sound / "fixed")
    return kinds


def damage(data: bytes, draw: random.Random) -> bytes:
    """Damages bytes in one of the ways of disks, networks and people."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        at, length = draw.randrange(len(data) + 1), draw.choice([1, 2, 4, 8, 50, 1000])
        way = draw.randrange(9)
        if way == 0:
            data = data[:at]
        elif way == 1:
            data[at : at + length] = b""
        elif way == 2:
            data[at : at + length] = bytes(length)
        elif way == 3:
            data[at : at + length] = draw.randbytes(length)
        elif way == 4 and data:
            other = draw.randrange(len(data))
            data[at:at] = data[other : other + length]
        elif way == 5:
            data[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0"])
        elif way == 6:
            data[at:at] = draw.choice([b"[" * 5000, b'{"a":' * 3000, b"\n" * 3000, b"\x1b[2J", b"\xef\xbb\xbf", b'"', b"\0", b"9" * 5000])
        elif at < len(data):
            data[at] ^= 1 << draw.randrange(8)
    return bytes(data)


@dataclasses.dataclass
class _Source:
    """A file of a source format, or an archive of some: documents and faults do not depend on blocks, and each fault names its file."""

    format: str
    ending: str  # of the file's name
    sound: bytes

    def __call__(self, place: pathlib.Path, draw: random.Random) -> str:
        ending = draw.choice(["", "", ".gz"]) if self.ending in _STREAMS else ""
        data = damage(self.sound, draw)
        path = place / f"input.{self.ending}{ending}"
        path.write_bytes(damage(gzip.compress(data), draw) if ending and draw.random() < 0.5 else gzip.compress(data) if ending else data)
        settings = {"split": "train"} if self.format == "tfds" else {}
        found = [_source(path, self.format, size, settings) for size in (1 << 20, 2048)]
        if any(isinstance(one, str) for one in found):
            assert all(isinstance(one, str) for one in found), f"refused by one size of blocks: {found}"
            assert all("input" in str(one) for one in found), found
            return "refused"
        assert found[0].texts == found[1].texts, "documents depend on the size of blocks"
        places = [sorted((fault.file, fault.position, fault.reason) for fault in one.faults) for one in found]
        assert places[0] == places[1], f"faults depend on the size of blocks: {places}"
        assert all(fault.file and fault.message and fault.position >= 0 for fault in found[0].faults)
        return "taken"


def _source(path: pathlib.Path, kind: str, block_bytes: int, settings: dict[str, Any]) -> Any:
    try:
        return read(path, kind, block_bytes, **settings)
    except TokenreelError as error:
        return str(error)


@dataclasses.dataclass
class _Dataset:
    """A dataset that somebody forged: all its checksums fit."""

    sound: pathlib.Path
    what: str

    def __call__(self, place: pathlib.Path, draw: random.Random) -> str:
        directory = shutil.copytree(self.sound, place / "d")
        if self.what == "bytes":
            path = draw.choice([path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != naming.MANIFEST])
            path.write_bytes(damage(path.read_bytes(), draw))
            datasets.sign(directory)
        elif self.what == "statistics":
            path = directory / naming.STATISTICS
            path.write_text(json.dumps(_mutate(json.loads(path.read_text()), draw)))
            datasets.sign(directory)
        else:
            path = directory / naming.MANIFEST
            path.write_text(_seal(_mutate(json.loads(path.read_text()), draw)))
        return "refused" if sum(_read_dataset(directory, draw)) else "taken"


def _read_dataset(directory: pathlib.Path, draw: random.Random) -> list[bool]:
    """Has everything read a dataset; says what refused it. Every refusal is a line that names the directory."""
    refused = []
    try:
        dataset = load(directory, crc="first")
        for _ in dataset.batches(4, seed=1, epochs=1, prefetch=0, drop_remainder=False):
            pass
        dataset.vocabulary()
    except TokenreelError as error:
        assert str(directory) in str(error), error
        refused.append(True)
    for arguments in (
        ["where", "--batch-size", "4", "--step", "0", "--text"],
        ["inspect", "--provenance", "--count", "3"],
        ["inspect", "--index", "-1", "--tokens"],
        ["report", "--output", str(directory.parent / "page.html")],
    ):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = commands.main(arguments[0], [str(directory), *arguments[1:]])
        said = err.getvalue()
        assert not code or str(directory) in said or "damaged" in out.getvalue(), (arguments[0], said)
        assert "\x1b" not in out.getvalue() + said
        refused.append(bool(code))
    lines = verify(str(directory))
    assert all(isinstance(line, str) and line for line in lines)
    return refused


def _mutate(body: Any, draw: random.Random) -> Any:
    """Replaces, adds or removes some values of a JSON document."""
    for _ in range(draw.choice([1, 1, 2, 3])):
        parents: list[tuple[Any, Any]] = []
        waiting = [body]
        while waiting:
            value = waiting.pop()
            keys_of: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
            parents += [(value, key) for key in keys_of]
            waiting += [value[key] for key in keys_of]
        parent, key = draw.choice(parents)
        way = draw.randrange(8)
        if way == 0:
            del parent[key]
        elif way == 1 and isinstance(parent, dict):
            parent[draw.choice(["x", "../x", "", "\x1b"])] = copy.deepcopy(parent[key])
        elif way == 2 and isinstance(parent[key], int):
            parent[key] = parent[key] + draw.choice([-1, 1, 2, 64])
        else:
            parent[key] = copy.deepcopy(draw.choice(HOSTILE_VALUES))
        if not body:
            return body
    return body


def _seal(body: Any) -> str:
    """Gives the text of a manifest whose fingerprint and digest fit, as far as its values can be understood."""
    try:
        return manifests._from_body(body).to_text()
    except Exception:
        body = {name: value for name, value in body.items() if name != "manifest_digest"} if isinstance(body, dict) else body
        digest = keys.digest(manifests._canonical(body))
        return manifests._pretty(body | {"manifest_digest": digest} if isinstance(body, dict) else body)


@dataclasses.dataclass
class _Config:
    """A config: its error names the file, and is no longer than two screens."""

    paths: list[pathlib.Path]
    kind: type

    def __call__(self, place: pathlib.Path, draw: random.Random) -> str:
        import yaml

        sound = draw.choice(self.paths).read_bytes()
        path = place / "hostile.yaml"
        if draw.random() < 0.5:
            path.write_bytes(damage(sound, draw))
        else:
            path.write_text(yaml.safe_dump(_mutate(yaml.safe_load(sound), draw)))
        try:
            reading.read(self.kind, str(path))
        except TokenreelError as error:
            assert "hostile.yaml" in str(error) and len(str(error)) < 4000, error
            return "refused"
        return "taken"


@dataclasses.dataclass
class _Model:
    """A vocabulary: what was loaded encodes and decodes, alone and in blocks alike."""

    kind: str
    sound: bytes

    def __call__(self, place: pathlib.Path, draw: random.Random) -> str:
        path = place / "hostile.model"
        if self.kind != "sentencepiece" and draw.random() < 0.5:
            path.write_text(json.dumps(_mutate(json.loads(self.sound), draw)))
        else:
            path.write_bytes(damage(self.sound, draw))
        try:
            _encode(load_vocabulary(self.kind, str(path)))
        except TokenreelError as error:
            assert "hostile.model" in str(error), error
            return "refused"
        return "taken"


def _encode(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("one two three")
    vocabulary.decode(ids)
    vocabulary.objective_facts()
    text = np.frombuffer(b"one two three", dtype=np.uint8)
    block, _ = vocabulary.encode_block(text, np.array([0, len(text)]))
    assert block.tolist() == ids, "a block has other ids"


@dataclasses.dataclass
class _State:
    """A saved state of a run, as `where` and `when` take it."""

    dataset: pathlib.Path

    def __call__(self, place: pathlib.Path, draw: random.Random) -> str:
        batches = load(self.dataset).batches(4, seed=3, prefetch=0)
        next(batches)
        text = json.dumps(batches.get_state())
        path = place / "state.json"
        if draw.random() < 0.5:
            path.write_bytes(damage(text.encode(), draw))
        else:
            path.write_text(json.dumps(_mutate(json.loads(text), draw)))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = commands.main("where", [str(self.dataset), "--batch-size", "4", "--step", "1", "--state", str(path)])
        assert not code or err.getvalue().startswith("tokenreel-where: error: "), err.getvalue()
        return "refused" if code else "taken"


def _write_source(name: str) -> bytes:
    """Gives a sound file of a format; of one that has no writer here, lines of JSON, which its reader has to refuse or take."""
    table = pa.table({"text": TEXTS, "number": list(range(len(TEXTS)))})
    out = io.BytesIO()
    if name == "parquet":
        pq.write_table(table, out, row_group_size=7)
    elif name == "arrow":
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    elif name in ("csv", "tsv"):
        import csv

        rows = io.StringIO()
        written = csv.writer(rows, delimiter="," if name == "csv" else "\t")
        written.writerows([["text", "number"], *([text, number] for number, text in enumerate(TEXTS))])
        return rows.getvalue().encode()
    elif name in ("tfrecord", "tfds"):
        values = [{"text": [text.encode()]} for text in TEXTS]
        return b"".join(tfrecord.frame(_example(value)) for value in values)
    elif name in ("lines", "paragraphs", "text"):
        return "\n\n".join(TEXTS).encode()
    elif name == "json":
        records = [{"text": text, "nested": [{"number": number}, "]}"]} for number, text in enumerate(TEXTS)]
        return json.dumps(records[:20], indent=1).encode() + b"".join(json.dumps(record, indent=1).encode() for record in records[20:])
    elif name == "warc":
        kinds = ["warcinfo", "conversion", "conversion", "resource", "response"] * 6
        return b"".join(_warc_record(*pair) for pair in zip(kinds, TEXTS, strict=True))
    else:
        return "".join(json.dumps({"text": text, "number": number}) + "\n" for number, text in enumerate(TEXTS)).encode()
    return out.getvalue()


def _warc_record(kind: str, text: str) -> bytes:
    payload = text.encode()
    header = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://x/{kind}\r\nContent-Type: text/plain\r\n"
    return header.encode() + b"Content-Length: %d\r\n\r\n%b\r\n\r\n" % (len(payload), payload)


def _tar(members: dict[str, bytes]) -> bytes:
    """Packs files, with attributes before the headers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), {"comment": "ä" * 20}
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    """Packs files, half of them deflated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (name, data) in enumerate(members.items()):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
    return out.getvalue()


def _example(values: dict[str, list[bytes]]) -> bytes:
    """Writes a `tf.train.Example` of byte strings."""
    entries = b""
    for name, items in values.items():
        listed = b"".join(delimited(b"\x0a", item) for item in items)
        entries += example_codec.map_entry(name, delimited(b"\x0a", listed))
    return delimited(b"\x0a", entries)


def _tokenizer_json() -> bytes:
    """Makes a small `tokenizer.json`, trained on the documents here."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.train_from_iterator(
        TEXTS, tokenizers.trainers.BpeTrainer(vocab_size=80, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    )
    return made.to_str().encode()
