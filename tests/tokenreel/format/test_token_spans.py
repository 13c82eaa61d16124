"""Spans of tokens in the text: equal to the library's, through every normaliser, and the way back from characters to tokens."""

from __future__ import annotations

import itertools
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import sentencepiece

from benchmarks.tokenization import convert
from tests.conftest import train_model
from tests.tokenreel.vocabularies.blocks import block
from tokenreel import ragged
from tokenreel.errors import VocabularyError
from tokenreel.format import token_spans
from tokenreel.vocabularies import character_offsets
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.characters import NORMALIZERS, normalize, write_character_model
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary

HOSTILE = [
    "",
    " ",
    "  two  spaces\t\ttabs \r\n lines\n\n",
    "ﬁne ﬃ ㌀ ﷺ ½ ① ＡＢＣ",  # ligatures and other characters that become several
    "e\u0301 é \u0301 a\u0301\u0301 각 \u1100\u1161\u11a8",
    "▁ literal ▁▁ x",
    "日本語 漢字 語",
    "🧑\u200d🚀 👩🏽 \ufe0f ☃",
    "שלום עולם \u200f مرحبا",
    "\x00 nul\x00\x01 \u200b \xad soft \ufeff",
    "\u2028line\u3000ideographic\xa0space ",
    "<user> x<user>y",
    "ǅ İ ẞ ς",
]
UNICODE = st.text(st.characters(codec="utf-8"), max_size=30)
MIXED = st.lists(
    st.one_of(
        UNICODE, st.sampled_from(HOSTILE), st.text("ab ▁\n\té日ﬁ㌀\u0301<user>", max_size=20), st.sampled_from(["the code ", "return"])
    ),
    max_size=6,
).map("".join)

TRAININGS = {
    "unigram": {"model_type": "unigram", "byte_fallback": True},
    "bpe": {"model_type": "bpe", "byte_fallback": True},
    "bpe_unknown": {"model_type": "bpe", "byte_fallback": False},
    "unigram_unknown": {"model_type": "unigram", "byte_fallback": False},
    "nfkc_cf": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nfkc_cf"},
    "identity": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"},
    "raw_spaces": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False, "add_dummy_prefix": False},
    "suffix": {"model_type": "unigram", "byte_fallback": True, "treat_whitespace_as_suffix": True},
    "unescaped": {"model_type": "unigram", "byte_fallback": True},
    "char": {"model_type": "char", "byte_fallback": False, "vocab_size": 60},
    "word": {"model_type": "word", "byte_fallback": False},
    "word_bytes": {"model_type": "word", "byte_fallback": True},  # the last byte of a word has the span of all of it
}


@pytest.fixture(scope="module")
def models(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, settings in TRAININGS.items():
        lines = (line for text in texts[:400] for line in [*text.splitlines(), "ﬁve ㌀ é"] if line.strip())
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_prefix=str(folder / name),
            **{
                "vocab_size": 500,
                "user_defined_symbols": ["<user>"],
                "num_threads": 1,
                "minloglevel": 2,
                "hard_vocab_limit": False,
                **settings,
            },
        )
        path = folder / f"{name}.model"
        if name == "unescaped":  # the trainer cannot make such models, but others have
            path.write_bytes(path.read_bytes() + b"\x1a\x02\x28\x00")
        found[name] = load_vocabulary("sentencepiece", str(path))
    return found


def spans(vocabulary: Vocabulary, documents: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Ids and spans of each document, encoded as one block."""
    tokens, lengths, begins, ends = vocabulary.encode_block_with_offsets(*block(documents))
    assert tokens.dtype == begins.dtype == ends.dtype == np.int32
    bounds = ragged.offsets_of(lengths).tolist()
    pairs = list(zip(begins.tolist(), ends.tolist(), strict=True))
    return [(tokens[a:b].tolist(), pairs[a:b]) for a, b in itertools.pairwise(bounds)]


def check_as_the_library(vocabulary: SentencePieceVocabulary, documents: list[str]) -> None:
    """Ids and spans are the library's; as it counts characters, or bytes, of the same text."""
    for text, (ids, found) in zip(documents, spans(vocabulary, documents), strict=True):
        told = vocabulary._processor().encode(text, return_type="offset_mapping")
        assert (ids, found) == (told["ids"], told["offsets"]), text
        in_bytes = [(piece.begin, piece.end) for piece in vocabulary._processor().encode(text, return_type="proto").pieces]
        assert [(len(text[:a].encode()), len(text[:b].encode())) for a, b in found] == in_bytes


def check_cover(vocabulary: SentencePieceVocabulary, text: str) -> None:
    """Spans follow each other, and leave out only white space and what the normaliser drops."""
    ((_, found),) = spans(vocabulary, [text])
    processor = vocabulary._processor()
    assert all(0 <= a <= b <= len(text) for a, b in found)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))
    held = {character for a, b in found for character in range(a, b)}
    for character in set(range(len(text))) - held:
        assert not processor.normalize(text[character]).strip("▁ \t\n\r")


@pytest.mark.parametrize("name", TRAININGS)
def test_spans_are_those_of_the_library(models, texts, name):
    check_as_the_library(models[name], [*HOSTILE, *texts[:60], "", *HOSTILE])


@pytest.mark.parametrize("name", TRAININGS)
@hypothesis.given(documents=st.lists(MIXED, max_size=4))
@hypothesis.settings(max_examples=40, deadline=None)
def test_spans_of_random_text_are_those_of_the_library(models, name, documents):
    check_as_the_library(models[name], documents)


@pytest.mark.parametrize("name", ["unigram", "bpe", "identity", "bpe_unknown"])
@hypothesis.given(text=MIXED)
@hypothesis.settings(max_examples=40, deadline=None)
def test_spans_cover_the_text(models, name, text):
    check_cover(models[name], text)


@hypothesis.given(text=st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=60))
@hypothesis.settings(max_examples=100, deadline=None)
def test_the_text_of_a_span_is_its_piece(models, text):
    vocabulary = models["identity"]
    ((ids, found),) = spans(vocabulary, [text])
    for number, (token, (a, b)) in enumerate(zip(ids, found, strict=True)):
        piece = vocabulary.piece(token)
        if not vocabulary._processor().is_byte(token):
            assert text[a:b] == (piece.removeprefix("▁") if number == 0 else piece)


def test_a_ligature_and_the_bytes_of_a_character_keep_their_place(models):
    text = "ﬁne 漢"
    ((ids, found),) = spans(models["unigram"], [text])
    pieces = [models["unigram"].piece(i) for i in ids]
    assert pieces[-3:] == ["<0xE6>", "<0xBC>", "<0xA2>"] and found[-3:] == [(4, 4), (4, 4), (4, 5)]
    first, last = token_spans.tokens_of_characters(*zip(*found, strict=True), 4).tolist()
    assert pieces[first:] == pieces[-3:] and last == len(ids) - 1
    first, last = token_spans.tokens_of_characters(*zip(*found, strict=True), 0).tolist()
    assert first == 0 and "".join(pieces[: last + 1]).startswith("▁fi")


@hypothesis.given(documents=st.lists(UNICODE, max_size=4))
def test_bytes_have_the_span_of_their_character(documents):
    vocabulary = load_vocabulary("bytes")
    for text, (ids, found) in zip(documents, spans(vocabulary, documents), strict=True):
        assert found == [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]
        assert ids == vocabulary.encode(text)


@pytest.mark.parametrize("documents", [[], [""], ["", ""]])
def test_blocks_without_text_have_no_spans(models, documents):
    for vocabulary in (models["bpe"], load_vocabulary("bytes")):
        assert [array.tolist() for array in vocabulary.encode_block_with_offsets(*block(documents))] == [[], [0] * len(documents), [], []]


def test_long_blocks_are_handled_in_portions(models, texts, monkeypatch):
    expected = spans(models["bpe_unknown"], texts[:50] + HOSTILE)
    monkeypatch.setattr("tokenreel.vocabularies.sentencepiece.offsets._PORTION_BYTES", 300)
    assert spans(models["bpe_unknown"], texts[:50] + HOSTILE) == expected


def test_a_vocabulary_that_cannot_tell_says_so():
    class Silent(Vocabulary):
        encode = decode = encode_block = None

    with pytest.raises(VocabularyError, match="Silent does not tell where its tokens lie"):
        Silent().encode_block_with_offsets(*block(["a"]))


@hypothesis.given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(0, 2), st.integers(0, 2))
def test_characters_find_their_tokens(steps, before, behind):
    begins, ends, at = [-1] * before, [-1] * before, 0
    for gap, length in steps:
        begins.append(at + gap)
        at += gap + length
        ends.append(at)
    begins, ends = begins + [-1] * behind, ends + [-1] * behind
    tokens = token_spans.tokens_of_characters(begins, ends, np.arange(at + 2))
    for character in range(at + 2):
        holders = [i for i, (a, b) in enumerate(zip(begins, ends, strict=True)) if a <= character < b]
        first, last = tokens[character].tolist()
        assert token_spans.characters_to_tokens(begins, ends, at + 2)[character] == last
        if not holders:
            assert (first, last) == (-1, -1)
            continue
        assert last == holders[-1] and first <= holders[0]
        # What stands in front is empty and begins where the holder begins.
        assert all(begins[i] == begins[holders[0]] for i in range(first, holders[0]))
        assert first == 0 or begins[first - 1] != begins[holders[0]]


@hypothesis.given(st.lists(st.tuples(st.integers(-1, 2**31 - 1), st.integers(-1, 2**31 - 1)), max_size=5))
def test_spans_go_into_one_number_and_back(pairs):
    begins, ends = (np.array(column, dtype=np.int32) for column in (zip(*pairs, strict=True) if pairs else ([], [])))
    packed = token_spans.pack(begins, ends)
    assert packed.dtype == np.int64
    assert [array.tolist() for array in token_spans.unpack(packed)] == [begins.tolist(), ends.tolist()]
    assert token_spans.pack(np.array([-1]), np.array([-1])).tolist() == [token_spans.NO_SPAN]


def test_small_models_of_the_tests_agree(texts, tmp_path):
    vocabulary = load_vocabulary("sentencepiece", train_model(texts[:300], tmp_path, "bpe", 500))
    check_as_the_library(vocabulary, texts[300:320])


@pytest.fixture(scope="module")
def special(models):
    """Finds the names of special tokens in text."""
    return {
        name: load_vocabulary("sentencepiece", models[name]._path, extra_ids=3, special_tokens=True) for name in ("bpe", "unigram_unknown")
    }


@pytest.mark.parametrize("name", ["bpe", "unigram_unknown"])
@hypothesis.given(
    documents=st.lists(
        st.lists(st.one_of(MIXED, st.sampled_from(["</s>", " <s>", "<extra_id_1>", "<unk>"])), max_size=5).map("".join), max_size=4
    )
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_special_tokens_have_the_span_of_their_names(models, special, name, documents):
    vocabulary = special[name]
    for text, (ids, found) in zip(documents, spans(vocabulary, documents), strict=True):
        assert ids == vocabulary.encode(text)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))
        names = [match.span() for match in re.finditer("</s>|<s>|<extra_id_[0-2]>|<unk>", text)]
        reserved = set(vocabulary._special.ids.values())
        told = [span for token, span in zip(ids, found, strict=True) if token in reserved and text[slice(*span)].startswith("<")]
        assert [span for span in told if span in names] == names
        if not names:
            assert found == spans(models[name], [text])[0][1]


MARKS = st.text(
    "aeé\u0301\u0323\u0308ς Σİßﬁ한\u1112\u1161\u11ab\u0345\u09c7\u09be\uff76\uff9eŉẞ\u1fb3ﷺ\u2126\u00c5日\u0f71\u0f72", max_size=12
)


@pytest.mark.parametrize("name", NORMALIZERS)
@hypothesis.given(documents=st.lists(st.one_of(MARKS, MIXED), max_size=3))
@hypothesis.settings(max_examples=60, deadline=None)
def test_normalised_characters_have_the_span_of_their_cluster(characters, name, documents):
    vocabulary = characters[name]
    for text, (ids, found) in zip(documents, spans(vocabulary, documents), strict=True):
        assert ids == vocabulary.encode(text)
        at = end = 0
        for span, group in itertools.groupby(found):
            size = sum(1 for _ in group)
            begin, end = span
            if name == "lowercase":  # the final sigma depends on what stands beside it
                assert size == len(normalize(text[begin:end], name))
            else:
                assert normalize(text[begin:end], name) == normalize(text, name)[at : at + size]
            at += size
        assert at == len(normalize(text, name)) and (not found or (found[0][0], end) == (0, len(text)))


def test_clusters_are_as_small_as_they_can_be():
    begins, ends = character_offsets.locate("a\u0301ﬁ한\u1112\u1161\u11abΣ\uff76\uff9e.", NORMALIZERS["nfkc"])
    assert list(zip(begins.tolist(), ends.tolist(), strict=True)) == [(0, 2), (2, 3), (2, 3), (3, 4), (4, 7), (7, 8), (8, 10), (10, 11)]


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("characters")
    found = {}
    for name in NORMALIZERS:
        write_character_model(str(folder / name), list("ae ﬁfi\u0301日"), name)
        found[name] = load_vocabulary("characters", str(folder / name))
    return found


@hypothesis.given(st.lists(st.lists(st.integers(0, 999), max_size=5), max_size=4), st.sampled_from([" ", ", ", "\n "]))
def test_ids_that_pass_through_have_the_span_of_their_number(documents, between):
    texts = [f"[{between.join(map(str, numbers))}]" for numbers in documents]
    for text, numbers, (ids, found) in zip(texts, documents, spans(load_vocabulary("pass_through", vocab_size=1000), texts), strict=True):
        assert ids == numbers == [int(text[a:b]) for a, b in found]


@pytest.mark.parametrize("kind", ["byte_level", "converted"])
def test_spans_are_those_of_hugging_face(models, texts, tmp_path, monkeypatch, kind):
    import tokenizers

    if kind == "converted":
        tokenizer = convert(models["bpe"]._path)
    else:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(
            texts[:200], tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
        )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    documents = [*HOSTILE, *texts[:30], ""]
    monkeypatch.setattr("tokenreel.vocabularies.huggingface._PORTION_BYTES", 500)
    told = tokenizer.encode_batch(documents, add_special_tokens=False)
    assert spans(vocabulary, documents) == [(encoding.ids, encoding.offsets) for encoding in told]
    assert [array.tolist() for array in vocabulary.encode_block_with_offsets(*block([]))] == [[], [], [], []]
