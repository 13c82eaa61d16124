"""Blocks give the ids that the library gives for each document, whatever the model and the text."""

from __future__ import annotations

import itertools
import pathlib
import pickle

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenreel.vocabularies.blocks import block
from tokenreel import ragged
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary

NASTY = [
    *("", " ", "  ", "a", " a", "a ", "  a  b  ", "\t", "a\tb", "\n", "a\nb\n", "\r\n", "a\r\nb", "\0", "a\0b", "▁", "a▁b", "▁ ▁", " ▁"),
    *(
        "e\u0301",
        "é",
        "\u0301",
        "👩‍👩‍👧",
        "ﷺ",
        "שלום",
        "مرحبا بالعالم",
        "日本語の文章。",
        "漢字 かな",
        "ﬁ",
        "Ａｂｃ",
        "½",
        "…",
        "\u00a0",
        "a\u00a0b",
    ),
    *(
        "\u3000",
        "\u200b",
        "a\u200bb",
        " \u200b ",
        "\u00ad",
        "\u2028",
        "@@@^^^",
        "§§",
        "<s>",
        "</s>",
        "<unk>",
        "<sep>",
        "a<sep>b",
        "New York",
    ),
    *(
        "in New York now",
        "def f(x):\n    return x  # ok\n",
        "....",
        "x" * 300,
        "   \n   \n",
        "İ",
        "ß",
        "\ufeffa",
        "\x01 a",
        "a \x01",
        "\x7f",
    ),
]
ALPHABET = st.sampled_from(
    [*"abcde THE.,(\n\t\r\0<>", " ", "  ", "▁", "é", "e\u0301", "ß", "日", "。", "\u00a0", "\u200b", "<sep>", "New York", "İ"]
)
MODELS = [
    *itertools.product(["bpe"], ["identity", "nfkc", "nmt_nfkc", "nmt_nfkc_cf", "nfkc_cf"], [True, False], [True], [True]),
    *itertools.product(["bpe"], ["identity", "nmt_nfkc"], [True, False], [True, False], [False]),
    *itertools.product(["char", "unigram", "word"], ["identity", "nmt_nfkc"], [False], [True], [True]),
    ("bpe", "nmt_nfkc", True, False, True),
]


@pytest.fixture(scope="module")
def corpus(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join([*texts[:400], "日本語の文章。", "in New York now", "a  b   c"]), encoding="utf-8")
    return path


def train(corpus: pathlib.Path, kind: str, rule: str, fallback: bool, prefix: bool, collapse: bool, **options: object) -> str:
    name = corpus.parent / f"{kind}-{rule}-{fallback}-{prefix}-{collapse}-{len(options)}"
    if not pathlib.Path(f"{name}.model").exists():
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(name),
            model_type=kind,
            vocab_size=500,
            hard_vocab_limit=False,
            normalization_rule_name=rule,
            byte_fallback=fallback,
            add_dummy_prefix=prefix,
            remove_extra_whitespaces=collapse,
            user_defined_symbols=["<sep>", "New York"],
            num_threads=1,
            minloglevel=2,
            **options,
        )
    return f"{name}.model"


def check(path: str, documents: list[str]) -> None:
    vocabulary = SentencePieceVocabulary(path)
    encoded = [document.encode() for document in documents]
    offsets = ragged.offsets_of(np.array([len(data) for data in encoded], dtype=np.int64))
    for _ in range(2):  # with a memo that is cold, and warm
        tokens, lengths = vocabulary.encode_block(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)
        bounds = ragged.offsets_of(lengths)
        found = [tokens[a:b].tolist() for a, b in itertools.pairwise(bounds.tolist())]
        for document, ids in zip(documents, found, strict=True):
            assert ids == vocabulary.encode(document), (path, document)


@pytest.mark.parametrize("model", MODELS, ids=["-".join(map(str, model)) for model in MODELS])
def test_hostile_documents(corpus: pathlib.Path, model: tuple[str, str, bool, bool, bool]) -> None:
    pairs = [f"{a}{b}" for a, b in itertools.product(NASTY, NASTY)]
    check(train(corpus, *model), [*NASTY, *pairs, *(f"the {a} of {b}." for a, b in itertools.pairwise(NASTY))])


def test_spaces_behind_words(corpus: pathlib.Path) -> None:
    check(train(corpus, "bpe", "nmt_nfkc", False, True, True, treat_whitespace_as_suffix=True), NASTY)
    check(train(corpus, "bpe", "nmt_nfkc", False, True, True, split_by_whitespace=False, character_coverage=0.99), NASTY)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_text(corpus: pathlib.Path, data: st.DataObject) -> None:
    model = data.draw(st.sampled_from([model for model in MODELS if model[0] in ("bpe", "char")]))
    check(train(corpus, *model), data.draw(st.lists(st.lists(ALPHABET, max_size=40).map("".join), max_size=30)))


def test_real_text(texts: list[str], unigram_model: str, corpus: pathlib.Path) -> None:
    check(unigram_model, texts[:500])
    check(train(corpus, "bpe", "nmt_nfkc", True, True, True), texts)


@pytest.mark.parametrize("options", [{}, {"memo_bytes": 0}, {"memo_bytes": 10_000}])
def test_a_block_is_encoded_as_its_documents(unigram_model, texts, options):
    vocabulary = load_vocabulary("sentencepiece", unigram_model, **options)
    documents = ["", *texts[:200], "", "é ▁ \t日本", ""]
    ids, lengths = vocabulary.encode_block(*block(documents))
    assert ids.dtype == np.int32
    assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == [vocabulary.encode(text) for text in documents]


def test_a_pickled_vocabulary_gives_the_same_ids(unigram_model, texts):
    vocabulary = load_vocabulary("sentencepiece", unigram_model, memo_bytes=1 << 20)
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy.fingerprint == vocabulary.fingerprint
    for a, b in zip(copy.encode_block(*block(texts[:50])), vocabulary.encode_block(*block(texts[:50])), strict=True):
        assert a.tolist() == b.tolist()


def test_an_empty_file_is_no_model(tmp_path):
    """The library prints "Model is not initialized" for each question, and answers with defaults."""
    (tmp_path / "x.model").write_bytes(b"")
    with pytest.raises(VocabularyError, match=r"x.model: an empty file, no SentencePiece model. `tokenreel train-tokenizer`"):
        load_vocabulary("sentencepiece", str(tmp_path / "x.model"))


def test_a_piece_that_is_no_text_is_said(tmp_path, unigram_model):
    data = pathlib.Path(unigram_model).read_bytes()
    at = data.index("\u2581the".encode())
    (tmp_path / "x.model").write_bytes(data[:at] + b"\xe2\x16\x81" + data[at + 3 :])
    with pytest.raises(VocabularyError, match=r"x\.model: not a SentencePiece model \(piece \d+ is no text"):
        load_vocabulary("sentencepiece", str(tmp_path / "x.model")).objective_facts()


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "x.model").write_bytes(b"hello")
    with pytest.raises(VocabularyError, match="not a SentencePiece model"):
        load_vocabulary("sentencepiece", str(tmp_path / "x.model"))
