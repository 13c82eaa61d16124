from __future__ import annotations

import gzip
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nasty_texts import NASTY
from tests.reading import read
from tests.tokenreel.sources.plain import plainly
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import ConfigError, SourceError
from tokenreel.sources import encodings

ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "utf-8-sig", "utf-7")
SENTENCES = {
    "cp1252": ["Où est la bibliothèque, s’il vous plaît ?", "Die Straße führt über die Brücke.", "“Quoted” text, it’s here"],
    "cp1250": ["Zażółć gęślą jaźń, proszę państwa.", "Příliš žluťoučký kůň úpěl ďábelské ódy."],
    "cp1251": ["Съешь же ещё этих мягких французских булок, да выпей чаю.", "Привет, мир"],
    "koi8-r": ["Съешь же ещё этих мягких французских булок"],
    "cp866": ["Съешь же ещё этих мягких французских булок"],
    "cp1253": ["Καλημέρα κόσμε, πώς είσαι σήμερα;"],
    "mac-roman": ["Die Straße führt über die Brücke"],
    "shift_jis": ["吾輩は猫である。名前はまだ無い。"],
    "euc_jp": ["吾輩は猫である。名前はまだ無い。"],
    "gb18030": ["我能吞下玻璃而不伤身体。今天天气很好"],
    "big5": ["我能吞下玻璃而不傷身體。今天天氣很好"],
    "euc_kr": ["나는 유리를 먹을 수 있어요. 오늘 날씨가 좋습니다"],
}


def rows_of(kind: str, texts: list[str]) -> str:
    if kind == "jsonl":
        return "".join(json.dumps({"text": text, "id": f"é{i}"}, ensure_ascii=False) + "\n" for i, text in enumerate(texts))
    mark = {"csv": ",", "tsv": "\t"}[kind]
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    return f"text{mark}id\n" + "".join(f"{text}{mark}é{i}\n" for i, text in enumerate(quoted))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_records_of_any_encoding_are_those_of_utf8(kind: str, tmp_path: pathlib.Path) -> None:
    whole = rows_of(kind, list(NASTY))
    (tmp_path / "a").write_text(whole, encoding="utf-8", newline="")
    plain = read(tmp_path / "a", kind, 100, id_field="id")
    assert plain.values == list(NASTY)
    for encoding in ENCODINGS:
        for pack in (bytes, gzip.compress):
            (tmp_path / "a").write_bytes(pack(whole.encode(encoding)))
            found = read(tmp_path / "a", kind, 100, id_field="id", encoding=encoding)
            assert (found.values, list(found.ids.values())) == (plain.values, list(plain.ids.values()))
            if encoding != "utf-8-sig":  # whose byte order mark takes 3 bytes
                assert (found.texts, found.blocks) == (plain.texts, 1)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.sampled_from("ab \n\r é日🎉"), max_size=40),
    kind=st.sampled_from(["lines", "paragraphs", "text"]),
    encoding=st.sampled_from(["utf-16-le", "utf-16", "utf-32-be"]),
    part_bytes=st.integers(1, 60),
)
def test_positions_are_those_of_the_utf8_form(text: str, kind: str, encoding: str, part_bytes: int) -> None:
    text = "first\n" + text
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.txt"
        path.write_bytes(text.encode(encoding))
        found = {at: document for (_, at), document in read(path, kind, part_bytes, encoding=encoding).texts.items()}
        assert found == ({0: text} if kind == "text" else plainly(text.encode(), kind))


def test_chunks_may_end_anywhere() -> None:
    text = "日本語🎉é\n"
    for encoding in ("utf-16", "utf-8", "shift_jisx0213", "gb18030"):
        data = text.replace("🎉", "" if encoding.startswith("shift") else "🎉").encode(encoding)
        pieces: Iterator[bytes | Exception] = iter([data[at : at + 1] for at in range(len(data))])
        assert b"".join(piece for piece in encodings.decode(pieces, encoding) if isinstance(piece, bytes)).decode() == data.decode(encoding)


@pytest.mark.parametrize("kind", ["lines", "jsonl", "csv"])
@pytest.mark.parametrize(
    ("encoding", "bad"), [("shift_jis", b"\x81\xff"), ("cp1252", b"\x81"), ("utf-16-le", b"\x00\xdca\x00"), ("ascii", b"\xe9")]
)
def test_what_cannot_be_decoded_costs_its_document_alone(kind: str, encoding: str, bad: bytes, tmp_path: pathlib.Path) -> None:
    lines = {
        "lines": ["good", "bad BAD.", "good too", "fine"],
        "jsonl": ['{"text": "good"}', '{"text": "bad BAD."}', '{"text": "good too"}', '{"text": "fine"}'],
        "csv": ["text,n", "good,1", "bad BAD.,2", "good too,3", "fine,4"],
    }[kind]
    data = "".join(line + "\n" for line in lines).encode(encoding)
    (tmp_path / "a").write_bytes(data.replace("BAD".encode(encoding), bad))
    found = read(tmp_path / "a", kind, encoding=encoding)
    assert (found.values, found.reasons) == (["good", "good too", "fine"], ["invalid_utf8"])
    assert f"not {encoding}: byte 0x" in found.faults[0].message
    assert found.faults[0].line == len(lines) - 2


@pytest.mark.parametrize("name", SENTENCES)
def test_messages_name_the_likely_encoding(name: str, tmp_path: pathlib.Path) -> None:
    for sentence in SENTENCES[name]:
        (tmp_path / "a").write_bytes(sentence.encode(name) + b"\nplain\n")
        found = read(tmp_path / "a", "lines")
        assert found.values == ["plain"]
        assert found.faults[0].message.endswith(f"it looks like {name}: set sources.encoding: {name}")
        assert read(tmp_path / "a", "lines", encoding=name).values == [sentence, "plain"]
    assert encodings.guess(bytes(range(0x80, 0x100)) * 3) is None


@pytest.mark.parametrize("kind", ["lines", "paragraphs", "text", "jsonl", "csv"])
def test_utf16_is_refused_by_name_where_nobody_told(kind: str, tmp_path: pathlib.Path) -> None:
    whole = rows_of(kind, ["line"] * 50) if kind in ("jsonl", "csv") else "line\n" * 50
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        for pack in (bytes, gzip.compress):
            (tmp_path / "a").write_bytes(pack(whole.encode(encoding)))
            with pytest.raises(SourceError, match=f"has encoding: utf-8. Set sources.encoding: {encoding},"):
                read(tmp_path / "a", kind)
            assert len(read(tmp_path / "a", kind, encoding=encoding).texts) == (50 if kind in ("lines", "jsonl", "csv") else 1)
    (tmp_path / "a").write_text(whole)
    with pytest.raises(SourceError, match=r"is UTF-8, but .* has encoding: utf-16. Set sources.encoding: utf-8"):
        read(tmp_path / "a", kind, encoding="UTF16")
    (tmp_path / "a").write_bytes(whole.encode("utf-16-be"))
    with pytest.raises(SourceError, match=r"Set sources.encoding: utf-16-be"):
        read(tmp_path / "a", kind, encoding="utf-16")


def test_russian_in_utf16_without_a_mark_is_told_too(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(("Привет, как дела?\n" * 50).encode("utf-16-le"))
    with pytest.raises(SourceError, match=r"Set sources.encoding: utf-16-le"):
        read(tmp_path / "a", "lines")


@pytest.mark.parametrize("encoding", ["utf16x", "hex", "rot13", "idna", "undefined", ""])
def test_names_of_encodings_are_checked(encoding: str) -> None:
    with pytest.raises(ConfigError, match=r"sources.encoding: .* is no encoding of text"):
        SourceConfig(files=("a",), encoding=encoding)


def test_tables_have_no_encoding() -> None:
    settings_of: dict[str, Any] = {"format": "parquet", "encoding": "cp1252"}
    with pytest.raises(ConfigError, match=r"sources.encoding needs a format of text"):
        SourceConfig(files=("a",), **settings_of)
    assert SourceConfig(files=("a",), format="parquet", encoding="UTF8").text_encoding == "utf-8"
