"""Vocabularies that come without a `tokenizer.json`: ids are those of keras-hub's tokenizers, which were made from the same files."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
import tokenizers

from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.vocabularies.loading import load_vocabulary

os.environ.setdefault("KERAS_BACKEND", "jax")

pytestmark = pytest.mark.models

TEXTS = [
    "The quick brown fox doesn't jump over 13 lazy dogs.",
    "Über naïve cafés, ÉTÉ, Ångström -- half price (really?)",
    "日本語のテキスト、漢字。 한국어 Русский текст",
    "def f(x): return x + 1\nprint(f(2))",
    " leading and trailing ",
    "we'll they've I'm you're he'd it's",
    "1234567 3.14 a_b-c/d\\e",
    "",
] * 2


SPECIAL = {"GPT2Tokenizer": ["<|endoftext|>"], "RobertaTokenizer": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]}


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "RobertaTokenizer"])
def test_byte_pairs_are_those_of_keras_hub(tmp_path: pathlib.Path, name: str) -> None:
    import keras_hub

    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS * 4, vocab_size=600, min_frequency=1, show_progress=False, special_tokens=SPECIAL[name])
    tokenizer.save_model(str(tmp_path))
    vocabulary, merges = str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
    expected = getattr(keras_hub.tokenizers, name)(vocabulary=vocabulary, merges=merges)
    expected.save_assets(str(tmp_path))  # as `vocabulary.json`
    for path in (vocabulary, str(tmp_path / "vocabulary.json")):
        found = load_vocabulary("huggingface", path)
        for text, ids in zip(TEXTS, split(*found.encode_block(*block(TEXTS))), strict=True):
            assert ids == [int(i) for i in expected(text)], text
        assert len(json.loads(pathlib.Path(path).read_text())) == found.vocab_size


@pytest.mark.parametrize("lower", [True, False])
def test_word_pieces_are_those_of_keras_hub(tmp_path: pathlib.Path, lower: bool) -> None:
    """`BertTokenizer` keeps accents, even where it makes letters small."""
    import keras_hub

    tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=lower, strip_accents=False)
    tokenizer.train_from_iterator(TEXTS * 4, vocab_size=400, min_frequency=1, show_progress=False)
    tokenizer.save_model(str(tmp_path))
    path = tmp_path / "vocab.txt"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower, "strip_accents": False}))
    expected = keras_hub.tokenizers.BertTokenizer(vocabulary=str(path), lowercase=lower)
    found = load_vocabulary("huggingface", str(path))
    for text, ids in zip(TEXTS, split(*found.encode_block(*block(TEXTS))), strict=True):
        assert ids == [int(i) for i in expected(text)], text
