"""Small SentencePiece models of every kind."""

from __future__ import annotations

import json
import pathlib

import pytest
import sentencepiece

from tests.tokenreel.vocabularies.blocks import NASTY


@pytest.fixture(scope="session")
def train(texts, tmp_path_factory):
    """Trains a small model and gives the bytes of its file; each only once."""
    directory = tmp_path_factory.mktemp("models")
    corpus = directory / "corpus.txt"
    lines = [line for text in texts[:900] for line in text.split("\n") if line.strip()]
    corpus.write_text("\n".join([*lines, *(f"{word} = {word}" for word in NASTY if word.strip() and "\0" not in word)]), encoding="utf-8")
    made: dict[str, bytes] = {}

    def make(kind="bpe", normalizer="nmt_nfkc", byte_fallback=True, **options) -> bytes:
        name = json.dumps([kind, normalizer, byte_fallback, options], sort_keys=True)
        if name not in made:
            prefix = directory / str(len(made))
            sentencepiece.SentencePieceTrainer.train(
                input=str(corpus), model_prefix=str(prefix), model_type=kind, vocab_size=500, normalization_rule_name=normalizer,
                byte_fallback=byte_fallback, hard_vocab_limit=False, character_coverage=0.995, num_threads=1, minloglevel=2, **options,
            )  # fmt: skip
            made[name] = pathlib.Path(f"{prefix}.model").read_bytes()
        return made[name]

    return make
