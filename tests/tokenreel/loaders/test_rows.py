"""Rows of single texts: byte for byte those of a build, for every place of a classifier's token, and the bugs that cclm has here."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import tokenreel
from pipelines import cli
from tokenreel.errors import ConfigError
from tokenreel.format import token_spans
from tokenreel.loaders.rows import Rows, round_up
from tokenreel.objectives.registry import make_objective
from tokenreel.vocabularies import character_fitting
from tokenreel.vocabularies.byte_level import ByteVocabulary
from tokenreel.vocabularies.characters import CharacterVocabulary

TEXTS = ["hi", "i am 6", "char", "a", "", "naïve café", "x" * 40, "Ünï çödé ﬁ", "\t\n", "日本 unknown \u0416"]
SPECIALS = ["<mask>", "<cls>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def vocabulary(folder: pathlib.Path) -> CharacterVocabulary:
    return character_fitting.fit(TEXTS[:-1], folder / "characters.json", specials=SPECIALS, normalizer="nfkc")


def build(folder: pathlib.Path, name: str, **packing: Any) -> pathlib.Path:
    rows = [{"text": text, "id": str(number)} for number, text in enumerate(TEXTS) if text.strip()]
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "output": str(folder / name),
        "sources": [{"files": [str(folder / "text.jsonl")], "id_field": "id"}],
        "vocabulary": {"kind": "characters", "path": str(folder / "characters.json")},
        "packing": {"mode": "pad", "seq_len": 16, "add_eos": False, **packing},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(folder / f"{name}.yaml"), "--direct_num_workers=1"]) == 0
    return folder / name


@pytest.mark.parametrize(
    "packing",
    [
        {},
        {"add_bos": True},
        {"separator_id": "<cls>"},
        {"add_eos": True, "add_bos": True},
        {"long_documents": "split", "separator_id": "<cls>"},
    ],
    ids=["plain", "first", "last", "both", "wrapped"],
)
def test_a_text_gives_the_row_of_the_build(folder: pathlib.Path, vocabulary: CharacterVocabulary, packing: dict[str, Any]) -> None:
    dataset = tokenreel.load(build(folder, "-".join(packing) or "plain", **packing))
    rows = dataset.rows()
    expected: dict[str, list[list[int]]] = {}
    for number, documents in enumerate(dataset.documents(range(len(dataset)))):
        expected.setdefault(documents[0]["doc_id"], []).append((documents[0]["doc_token_start"], dataset[number]["tokens"].tolist()))
    assert len(expected) == len([text for text in TEXTS if text.strip()])
    for name, found in expected.items():
        text = TEXTS[int(name)]
        offline = [row for _, row in sorted(found)]
        assert rows.wrap(text, 16)[: len(offline)].tolist() == offline
        assert rows.string_to_array(text, 16).tolist() == offline[0]
    assert rows.string_to_array("a", 16).dtype == np.int32


@given(st.text(alphabet="aé日\U0001f600 x\u0301", max_size=30), st.integers(1, 9), st.integers(1, 6), st.booleans(), st.booleans())
def test_every_character_has_a_place_and_every_row_a_length(text: str, factor: int, blocks: int, first: bool, last: bool) -> None:
    length = factor * blocks
    rows = Rows(vocabulary=ByteVocabulary(), first_id=257 if first else None, last_id=1 if last else None, align=factor)
    ids = [*([257] * first), *rows.vocabulary.encode(text), *([1] * last)]
    wrapped = rows.wrap(text, length)
    assert wrapped.shape == (max(1, -(-len(ids) // length)), length)
    assert wrapped.ravel().tolist() == ids + [0] * (wrapped.size - len(ids)), "no token is lost, none comes twice"
    assert rows.string_to_array(text, length).tolist() == wrapped[0].tolist()
    own = rows.string_to_array(text)
    assert (own.tolist() == ids + [0] * (len(own) - len(ids)) and len(own) % factor == 0 and 0 <= len(own) - len(ids) < factor) or not ids


# What cclm (jamesmf/cclm d08aa57) answers otherwise.


def test_an_unknown_character_is_unknown_and_not_padding(vocabulary: CharacterVocabulary) -> None:
    """cclm gives 0, its padding, and never uses its id for what is unknown."""
    rows = Rows(vocabulary=vocabulary)
    assert rows.string_to_array("\u0416", 4).tolist() == [vocabulary.unk_id, 0, 0, 0]
    assert vocabulary.unk_id != vocabulary.pad_id == 0


def test_rows_are_integers(vocabulary: CharacterVocabulary) -> None:
    """cclm gives float64."""
    assert Rows(vocabulary=vocabulary).string_to_array("hi", 4).dtype == np.int32


@pytest.mark.parametrize(("text", "factor", "length"), [("hi", 4, 4), ("i am 6", 4, 8), ("a", 16, 16), ("", 4, 4), ("char", 4, 4)])
def test_rows_are_as_long_as_the_factor_asks(vocabulary: CharacterVocabulary, text: str, factor: int, length: int) -> None:
    assert len(Rows(vocabulary=vocabulary, align=factor).string_to_array(text)) == length


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_lengths_are_rounded_up_to_the_factor(length: int, factor: int) -> None:
    """cclm has `n + n % f`: 6 for a length of 5 and a factor of 4."""
    assert round_up(5, 4) == 8
    found = round_up(length, factor)
    assert found % factor == 0 and length <= found < length + factor


def test_long_texts_keep_the_classifier_in_front_and_wrap(vocabulary: CharacterVocabulary) -> None:
    """cclm does not cut where no length is used, and rounds the length down."""
    cls = vocabulary.cls_id
    rows = Rows(vocabulary=vocabulary, first_id=cls, align=4)
    assert rows.string_to_array("x" * 40, 8).tolist() == [cls, *[vocabulary.find("x")] * 7]
    assert rows.wrap("x" * 40, 8).shape == (6, 8)
    with pytest.raises(ConfigError, match="a row has a multiple of 4 positions, got 5: take 8"):
        rows.string_to_array("char", 5)


def test_short_texts_are_examples_too(vocabulary: CharacterVocabulary) -> None:
    """cclm's pretrainers leave out every text shorter than an example."""
    rows = Rows(vocabulary=vocabulary)
    made = make_objective("character_denoising", seq_len=16, vocabulary=vocabulary.objective_facts(), rate=0.5)
    found = rows.example("hi", 16, made)
    assert found["targets"].tolist() == rows.string_to_array("hi", 16).tolist()
    assert found["target_weights"][2:].sum() == 0, "padding is neither hidden nor a target"


def test_noise_takes_an_empty_text(vocabulary: CharacterVocabulary) -> None:
    """cclm's titles crash on it; its noise draws from a global generator."""
    rows = Rows(vocabulary=vocabulary, first_id=vocabulary.cls_id)
    made = make_objective("typo_noise", seq_len=16, vocabulary=vocabulary.objective_facts(), swap=0.2, case=0.2, drop=0.2)
    assert rows.example("", 16, made)["num_inputs"] == 1
    first, again, other = (rows.example("naïve café", 16, made, key=key) for key in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["inputs"] != other["inputs"]).any() and first["inputs"][0] == vocabulary.cls_id
    assert (first["tokens"] == rows.string_to_array("naïve café", 16)).all()


def test_places_of_characters(vocabulary: CharacterVocabulary) -> None:
    """The normaliser makes two characters of a ligature: all that it made stands in the span."""
    rows = Rows(vocabulary=vocabulary, first_id=vocabulary.cls_id)
    text = "Ünï çödé ﬁ"
    spans = [[0, 3], [4, 8], [9, 10], [3, 3], [50, 60]]
    assert rows.positions(text, spans).tolist() == [[1, 4], [5, 9], [10, 12], [-1, -1], [-1, -1]]
    row = rows.string_to_array(text, 12)
    assert rows.vocabulary.decode(row[10:12]) == "fi"


def test_tokens_of_two_vocabularies_are_aligned(vocabulary: CharacterVocabulary) -> None:
    rows, other = Rows(vocabulary=vocabulary), ByteVocabulary()
    ids, places = rows.align_tokens("né x", other)
    assert ids.tolist() == other.encode("né x")
    assert places.tolist() == [[0, 1], [1, 2], [1, 2], [2, 3], [3, 4]], "both bytes of é stand where it does"


@given(st.text(alphabet="aé日 x", max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_places_are_those_of_every_pair(text: str, start: int, end: int) -> None:
    rows = Rows(vocabulary=ByteVocabulary(), first_id=1)
    begins, ends = Rows._spans(text, rows.vocabulary)
    held = [i for i, (a, b) in enumerate(zip(begins, ends, strict=True)) if a < end and max(b, a + 1) > start]
    expected = [held[0] + 1, held[-1] + 2] if held else [token_spans.NO_SPAN] * 2
    assert rows.positions(text, [[start, end]]).tolist() == [expected]


def test_sentences_are_no_rows(folder: pathlib.Path, vocabulary: CharacterVocabulary) -> None:
    dataset = tokenreel.load(build(folder, "sentences", mode="full_sentences", sentences="newline", add_eos=True))
    with pytest.raises(ConfigError, match=r"packing\.sentences"):
        dataset.rows()
