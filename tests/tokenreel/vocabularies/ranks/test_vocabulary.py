from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import pickle

import numpy as np
import pytest
import tiktoken_ext.openai_public

import tokenreel
from pipelines import cli
from tests import rank_files
from tests.hostile_texts import TEKKEN, hostile_texts
from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.ranks import library, vocabulary
from tokenreel.vocabularies.ranks.patterns import PATTERNS
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairMemo

SPECIAL = {"<|endoftext|>": 1600, "<|im_start|>": 1601, "<fim>": 1603}
UNKNOWN = r"\w+|(?<=a)b|[^\w]"  # only the library knows it


@pytest.fixture(scope="module")
def ids(texts):
    found = rank_files.trained([*texts[:100], *hostile_texts(1500, seed=11)])
    assert len(found) == 1500
    return found


@pytest.fixture(scope="module")
def path(ids, tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "small.tiktoken"
    path.write_bytes(rank_files.write(ids))
    return str(path)


@pytest.fixture(scope="module")
def documents(texts):
    return [*texts[:50], *hostile_texts(2000, seed=4, names=(*SPECIAL, "<|endoftext|><fim>", "[INST]")), "a" * 3000, " " * 3000, ""]


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("name", PATTERNS)
def test_ids_are_those_of_tiktoken(ids, path, documents, name, special_tokens):
    """`encode_ordinary`, and `encode` with all special tokens allowed."""
    ours = load_vocabulary("tiktoken", path, pattern=name, added_tokens=SPECIAL, special_tokens=special_tokens)
    assert isinstance(ours.memo, BytePairMemo) and "own loops" in ours.describe_speed()
    theirs = rank_files.library(ids, PATTERNS[name], SPECIAL)
    expected = [theirs.encode(each, allowed_special="all") if special_tokens else theirs.encode_ordinary(each) for each in documents]
    assert split(*ours.encode_block(*block(documents))) == expected
    slow = load_vocabulary("tiktoken", path, pattern=name, added_tokens=SPECIAL, special_tokens=special_tokens, memo_bytes=0)
    assert split(*slow.encode_block(*block(documents[:300]))) == expected[:300] and "memo_bytes" in slow.describe_speed()
    assert [ours.encode(each) for each in documents[:20]] == expected[:20]
    assert [ours.decode(each) for each in expected] == documents
    assert any(set(SPECIAL.values()) & {*each} for each in expected) == special_tokens


def test_tekken_gives_the_ids_of_its_pieces_behind_its_special_tokens(ids, tmp_path, documents):
    path = tmp_path / "tekken.json"
    path.write_bytes(rank_files.write_tekken(rank_files.tekken(ids, TEKKEN)))
    ours = load_vocabulary("tiktoken", str(path))
    pieces = sorted((i, piece) for piece, i in ours._file.ids.items())
    theirs = rank_files.library({piece: i - 30 for i, piece in pieces}, TEKKEN)
    assert split(*ours.encode_block(*block(documents))) == [[30 + i for i in theirs.encode_ordinary(each)] for each in documents]
    assert (ours.unk_id, ours.bos_id, ours.eos_id, ours.pad_id, ours.vocab_size) == (0, 1, 2, 11, 1527)
    assert ours.piece(25) == "<SPECIAL_25>" and ours.decode([2, *ours.encode("a")]) == "</s>a"
    with pytest.raises(VocabularyError, match="a pattern of its own"):
        load_vocabulary("tiktoken", str(path), pattern="o200k")
    assert load_vocabulary("tiktoken", str(path), pattern=TEKKEN).fingerprint == ours.fingerprint


def test_the_patterns_are_those_of_tiktoken(monkeypatch):
    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", lambda *arguments, **options: {})
    for name in ("cl100k", "o200k"):
        assert getattr(tiktoken_ext.openai_public, f"{name}_base")()["pat_str"] == PATTERNS[name]


def test_a_pattern_that_only_the_library_knows(ids, path, documents):
    ours = load_vocabulary("tiktoken", path, pattern=UNKNOWN, added_tokens=SPECIAL)
    assert isinstance(ours.memo, NotRecognised) and "by tiktoken as a whole" in ours.describe_speed()
    theirs = rank_files.library(ids, UNKNOWN)
    assert split(*ours.encode_block(*block(documents))) == [theirs.encode_ordinary(each) for each in documents]


def test_a_name_that_begins_another_is_the_librarys(ids, path):
    special = {"<a>": 1600, "<a><b>": 1601}
    ours = load_vocabulary("tiktoken", path, pattern="gpt2", added_tokens=special, special_tokens=True)
    assert "begins with another" in ours.describe_speed()
    assert ours.encode("x<a><b>y") == rank_files.library(ids, PATTERNS["gpt2"], special).encode("x<a><b>y", allowed_special="all")


def test_another_release_of_the_library_encodes_all(path, monkeypatch):
    assert importlib.metadata.version("tiktoken") == library.VERSION
    monkeypatch.setattr(vocabulary, "_MEMOS", {})
    monkeypatch.setattr(library, "VERSION", "0.0")
    assert "tables were not compared" in load_vocabulary("tiktoken", path, pattern="gpt2").describe_speed()


def test_without_the_library_our_own_loops_encode(path, monkeypatch):
    """A trainer that shows texts need not install it."""
    expected = load_vocabulary("tiktoken", path, pattern="gpt2").encode("some text")
    monkeypatch.setattr(vocabulary, "_MEMOS", {})
    monkeypatch.setitem(__import__("sys").modules, "tiktoken", None)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tiktoken" else find(name))
    assert load_vocabulary("tiktoken", path, pattern="gpt2").encode("some text") == expected
    with pytest.raises(VocabularyError, match="pip install tiktoken"):
        load_vocabulary("tiktoken", path, pattern=UNKNOWN).describe_speed()


def test_offsets_are_those_that_tiktoken_finds_when_it_decodes(ids, path, documents):
    ours = load_vocabulary("tiktoken", path, pattern="o200k", added_tokens=SPECIAL)
    tokens, lengths, begins, ends = ours.encode_block_with_offsets(*block(documents))
    assert np.array_equal(tokens, ours.encode_block(*block(documents))[0])
    theirs = rank_files.library(ids, PATTERNS["o200k"])
    for text, own, first, last in zip(documents, *(split(each, lengths) for each in (tokens, begins, ends)), strict=True):
        found, at = theirs.decode_with_offsets(own)
        assert found == text and first == at
        assert all(b >= a for a, b in zip(first, last, strict=True)) and (not last or last[-1] == len(text))
    named = load_vocabulary("tiktoken", path, pattern="o200k", added_tokens=SPECIAL, special_tokens=True)
    *_, begins, ends = named.encode_block_with_offsets(*block(["é<|endoftext|>b"]))
    assert begins[-2:].tolist() == [1, 14] and ends[-2:].tolist() == [14, 15]


def test_offsets_are_refused_where_the_pattern_leaves_text_out(path):
    ours = load_vocabulary("tiktoken", path, pattern=r"\p{L}+")
    assert ours.decode(ours.encode("a, b")) == "ab"
    with pytest.raises(VocabularyError, match=r"leaves out some of document 1 of 2.*vocabulary.offsets"):
        ours.encode_block_with_offsets(*block(["a", "a b"]))


def test_what_a_vocabulary_tells_objectives(ids, path):
    ours = load_vocabulary("tiktoken", path, pattern="gpt2", added_tokens=SPECIAL, pad_id="<|im_start|>", eos_id=1600)
    assert (ours.pad_id, ours.eos_id, ours.bos_id, ours.vocab_size) == (1601, 1600, None, 1604)
    facts = ours.objective_facts()
    assert facts["special_ids"] == (1600, 1601, 1603) and facts["special_names"] == {name: i for name, i in SPECIAL.items()}
    begins = [i for piece, i in ids.items() if piece.startswith(b" ")]
    assert np.flatnonzero(facts["word_starts"]).tolist() == sorted(begins)
    assert ours.piece(ids[b" t"]) == "Ġt" and ours.piece(1602) is None and ours.piece(1604) is None and ours.piece(-1) is None
    assert ours.pieces()[ids[b" t"]] == " t" and ours.pieces()[1600] is None
    assert ours.decode([1600, 1602, ids[b"a"], 99_999]) == "<|endoftext|>a"
    assert ours.decode([ids[b"\xe2"]]) == "\ufffd"


def test_a_special_token_is_found_before_a_piece_that_is_spelled_like_it(ids, tmp_path):
    path = tmp_path / "a.tiktoken"
    path.write_bytes(rank_files.write({**ids, b"</s>": 1500, b"</": 1501, b"s>": 1502}))
    ours = load_vocabulary("tiktoken", str(path), pattern="gpt2", added_tokens={"</s>": 1600})
    assert ours.find("</s>") == 1600 and ours.eos_id == 1600
    assert 1600 not in ours.encode("a</s>")
    ordinary = load_vocabulary("tiktoken", str(path), pattern="gpt2")
    assert ordinary.eos_id is None  # a piece is text
    with pytest.raises(VocabularyError, match=r"'</s>' \(1500\) is an ordinary piece"):
        load_vocabulary("tiktoken", str(path), pattern="gpt2", eos_id="</s>")


def test_special_tokens_are_read_from_the_file_beside(path, ids, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(rank_files.write(ids))
    tokens = {"1700": {"content": "<|begin_of_text|>", "special": True}, "1701": {"content": "<|eot_id|>", "special": True}}
    settings = {"added_tokens_decoder": tokens, "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    ours = load_vocabulary("tiktoken", str(tmp_path / "tokenizer.model"), pattern="llama3")
    assert (ours.bos_id, ours.eos_id, ours.vocab_size) == (1700, 1701, 1702)
    assert ours.resolved["added_tokens"] == {"<|begin_of_text|>": 1700, "<|eot_id|>": 1701}
    given = load_vocabulary("tiktoken", str(tmp_path / "tokenizer.model"), pattern="llama3", added_tokens={"<|eot_id|>": 1800})
    assert (given.bos_id, given.eos_id) == (None, 1800)
    for wrong in ("[]", '{"added_tokens_decoder": {"x": {"content": "a"}}}', '{"added_tokens_decoder": [1]}', "{"):
        (tmp_path / "tokenizer_config.json").write_text(wrong, encoding="utf-8")
        with pytest.raises(VocabularyError, match=r"tokenizer_config\.json"):
            load_vocabulary("tiktoken", str(tmp_path / "tokenizer.model"), pattern="llama3")


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({}, r"does not say how texts are cut. Set vocabulary.options.pattern to cl100k, gpt2"),
        ({"pattern": 3}, "vocabulary.options.pattern must be"),
        ({"pattern": "gpt2", "special_tokens": 1}, "special_tokens must be true or false"),
        ({"pattern": "gpt2", "added_tokens": ["<a>"]}, "must be ids by name"),
        ({"pattern": "gpt2", "added_tokens": {"<a>": True}}, "'<a>' has True"),
        ({"pattern": "gpt2", "added_tokens": {"<a>": 1.5}}, "'<a>' has 1.5"),
        ({"pattern": "gpt2", "added_tokens": {"<a>": 1 << 24}}, "'<a>' has 16777216"),
        ({"pattern": "gpt2", "added_tokens": {"": 1600}}, "'' has 1600"),
        ({"pattern": "gpt2", "added_tokens": {3: 1600}}, "3 has 1600"),
        ({"pattern": "gpt2", "added_tokens": {"<a>": 7}}, "gives '<a>' the id 7, which is the piece"),
        ({"pattern": "gpt2", "added_tokens": {"<a>": 1600, "<b>": 1600}}, "gives '<b>' the id 1600, which is '<a>'"),
        ({"pattern": "gpt2", "eos_id": "<|endoftext|>"}, "no token '<|endoftext|>'"),
        ({"pattern": "gpt2", "added_tokens": {"</s>": 1600, "<eos>": 1601}}, "several tokens may be its eos"),
        ({"pattern": "gpt2", "colour": 1}, "takes no option 'colour'"),
    ],
)
def test_what_is_wrong_is_said(path, options, about):
    with pytest.raises(VocabularyError, match=about.replace("(", r"\(").replace("|", r"\|")):
        load_vocabulary("tiktoken", path, **options)


def test_a_pattern_that_is_none_is_refused_before_anything_is_encoded(path):
    with pytest.raises(VocabularyError, match=r"tiktoken does not take the pattern '\('"):
        load_vocabulary("tiktoken", path, pattern="(").describe_speed()


def test_a_document_that_the_library_gives_up_is_named(path, monkeypatch):
    ours = load_vocabulary("tiktoken", path, pattern=r"(?:a|a|ab)*?c(?<=x)|[\s\S]")
    with pytest.raises(VocabularyError, match="tiktoken cannot encode document 1 of 2"):
        ours.encode_block(*block(["b", "a" * 100]))


def test_a_document_that_only_the_library_gives_up(ids, path):
    """Its regular expressions overflow their stack on a million spaces; ours have none."""
    text = " " * (1 << 20)
    with pytest.raises(BaseException, match="StackOverflow"):
        rank_files.library(ids, PATTERNS["gpt2"]).encode_ordinary(text)
    ours = load_vocabulary("tiktoken", path, pattern="gpt2")
    found = ours.encode(text)
    assert ours.decode(found) == text
    assert found[:1000] == rank_files.library(ids, PATTERNS["gpt2"]).encode_ordinary(" " * (1 << 16))[:1000]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(VocabularyError, match="cannot be read"):
        load_vocabulary("tiktoken", str(tmp_path / "no.tiktoken"), pattern="gpt2")


def test_it_pickles_without_what_it_loaded(path):
    ours = load_vocabulary("tiktoken", path, pattern="gpt2", added_tokens=SPECIAL)
    ours.encode_block_with_offsets(*block(["a text"]))
    _ = ours.word_starts, ours.find("a"), ours._library
    again = pickle.loads(pickle.dumps(ours))
    assert len(pickle.dumps(ours)) < len(ours.data) + 10_000
    assert (
        again.encode("a text") == ours.encode("a text")
        and again.fingerprint == ours.fingerprint
        and again.decode([1600]) == "<|endoftext|>"
    )


def test_what_decides_ids_is_in_the_fingerprint(path, ids, tmp_path):
    (tmp_path / "b").write_bytes(rank_files.write({piece: i for piece, i in ids.items() if i != 1499}))
    given = [
        (path, {"pattern": "gpt2"}),
        (path, {"pattern": "o200k"}),
        (path, {"pattern": "gpt2", "special_tokens": True}),
        (path, {"pattern": "gpt2", "added_tokens": SPECIAL}),
        (str(tmp_path / "b"), {"pattern": "gpt2"}),
    ]
    assert len({load_vocabulary("tiktoken", each, **options).fingerprint for each, options in given}) == len(given)
    assert (
        load_vocabulary("tiktoken", path, **given[0][1]).fingerprint
        == load_vocabulary("tiktoken", path, pattern=PATTERNS["gpt2"]).fingerprint
    )


def build(folder, texts, vocabulary, **objective):
    """Builds a dataset by the command; its directory."""
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts), encoding="utf-8")
    config = {
        "sources": [{"files": str(folder / "text.jsonl")}],
        "output": str(folder / "dataset"),
        "vocabulary": {"kind": "tiktoken", **vocabulary},
        "packing": {"mode": "pad", "seq_len": 512, "add_eos": True},
        "objective": {"name": "causal_lm", **objective},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert cli.main(["build", str(folder / "config.json")]) == 0
    assert cli.main(["verify", str(folder / "dataset")]) == 0
    return folder / "dataset"


def test_a_dataset_keeps_its_ranks_and_decodes(ids, path, tmp_path, capsys, documents):
    """Through the command: ids of the library in the records, the file beside them, names of special tokens as text."""
    shown = ["first <|endoftext|> text", *(each for each in documents[:40] if each.strip())]
    options = {"pattern": "cl100k", "added_tokens": SPECIAL, "eos_id": "<|endoftext|>"}
    directory = build(tmp_path, shown, {"path": path, "options": options, "offsets": True}, pad_id=0)
    said = "".join(capsys.readouterr())
    assert "eos '<|endoftext|>' (1600)" in said and "own loops" in said
    dataset = tokenreel.load(str(directory))
    stored = dataset.vocabulary()
    assert (directory / "vocabulary.tiktoken").read_bytes() == stored.data
    assert stored.eos_id == 1600 and stored.pad_id is None and stored.find("<|im_start|>") == 1601
    theirs = rank_files.library(ids, PATTERNS["cl100k"])
    rows = [dataset[i]["tokens"].tolist() for i in range(len(dataset))]
    for each in shown:
        expected = [*theirs.encode_ordinary(each), 1600][:512]
        assert any(row[: len(expected)] == expected for row in rows), each
    assert stored.decode([*theirs.encode_ordinary(shown[0]), 1600]) == shown[0] + "<|endoftext|>"
    assert cli.main(["inspect", str(directory)]) == 0


def test_a_dataset_of_tekken(ids, tmp_path):
    (tmp_path / "tekken.json").write_bytes(rank_files.write_tekken(rank_files.tekken(ids, TEKKEN)))
    options = {"special_tokens": True, "pattern": TEKKEN}  # which it has itself
    directory = build(tmp_path, ["a[INST]b", "c"], {"path": str(tmp_path / "tekken.json"), "options": options})
    dataset = tokenreel.load(str(directory))
    rows = sorted(dataset[i]["tokens"].tolist()[:4] for i in range(2))
    assert rows == sorted([[30 + ord("a"), 3, 30 + ord("b"), 2], [30 + ord("c"), 2, 11, 11]])
    assert dataset.vocabulary().encode("</s>") == [2]


def test_what_stood_beside_the_file_goes_with_the_dataset(ids, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(rank_files.write(ids))
    tokens = {"1700": {"content": "<|end_of_text|>"}, "1701": {"content": "<s>"}, "1702": {"content": "<|eot_id|>"}}
    settings = {"added_tokens_decoder": tokens, "bos_token": None, "eos_token": "<|eot_id|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    directory = build(tmp_path, ["a"], {"path": str(tmp_path / "tokenizer.model"), "options": {"pattern": "llama3"}}, pad_id=0)
    assert json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8")) == settings
    stored = tokenreel.load(str(directory)).vocabulary()
    assert (stored.bos_id, stored.eos_id, stored.find("<s>"), stored.vocab_size) == (None, 1702, 1701, 1703)
