from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.errors import ConfigError
from tokenreel.tokenizer_training.sentencepiece_training import (
    TrainerInput,
    check_options,
    measure_coverage,
    sentences,
    train_sentencepiece,
)
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_sise": 3}, r"options.vocab_sise: .* no such option; did you mean 'vocab_size'\?"),
        ({"pad_id": 0, "unk_id": 2, "vocab_sise": 3}, r"options.vocab_sise: .* no such option"),
        ({"foo": 3}, r"options.foo: .* no such option$"),
        ({"vocab_size": 4000, "model_type": "bpi"}, r"options.model_type: .* does not take 'bpi'"),
        ({"vocab_size": "many", "model_type": "bpe"}, r"options.vocab_size: .* does not take 'many': .*as int"),
        ({"vocab_size": 0}, r"options.vocab_size: "),
        ({"byte_fallback": "maybe"}, r"options.byte_fallback: .* does not take 'maybe': .*as bool"),
        ({"hard_vocab_limit": "maybe"}, r"options.hard_vocab_limit: "),
        ({"character_coverage": 7.0, "vocab_size": 4000}, r"options.character_coverage: .* does not take 7.0"),
        ({"normalization_rule_name": "nfx"}, r"options.normalization_rule_name: .* does not take 'nfx'"),
        ({"normalization_rule_tsv": "/nowhere"}, r"options.normalization_rule_tsv: .*No such file"),
        ({"unk_id": -1}, r"options.unk_id: .*<unk> must be defined"),
        ({"byte_fallback": True, "vocab_size": 100}, r"options: SentencePiece does not take these together: "),
        ({"num_threads": 0}, r"options.num_threads: "),
        ({"input": "a.txt"}, r"options.input is not for the config: give sources"),
        ({"model_prefix": "a"}, r"options.model_prefix is not for the config: give output"),
        ({"control_symbols": {"a": 1}}, r"options.control_symbols must be text, a number, true or false, or a list"),
        ({"control_symbols": None}, r"options.control_symbols must be text"),
        ({"input_sentence_size": 5, "shuffle_input_sentence": True}, r"options.shuffle_input_sentence draws other sentences on every run"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_options(options)


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_possible_options_are_taken(kind: str) -> None:
    check_options({"model_type": kind, "vocab_size": 32_000, "user_defined_symbols": ["\n", "<mask>"], "control_symbols": "<a>,<b>"})
    check_options({"model_type": kind, "hard_vocab_limit": True, "use_all_vocab": False, "byte_fallback": True, "split_digits": True})


def test_sentences_count_what_they_change() -> None:
    counts = TrainerInput()
    text = "one\r\ntwo\n\nthree words here\n日本語日本\na▅b▅\n\0c".encode()
    found = [line.decode() for line in sentences([text, b"end"], counts, max_bytes=10)]
    assert found == ["one", "two", "three ", "words here", "日本語", "日本", "a", "b", "\0c", "end"]
    assert counts == TrainerInput(
        lines=10, bytes=sum(len(line.encode()) for line in found), cut_lines=2, reserved_characters=2, null_characters=1
    )
    counts = TrainerInput()
    assert list(sentences([b"a\nb", b"c\nd"], counts, limit=3)) == [b"a", b"b", b"c"]
    assert (counts.lines, counts.lines_beyond_limit) == (3, 1)


@given(st.lists(st.text(alphabet="ab é日😀\n", max_size=60), max_size=4), st.integers(4, 20))
def test_sentences_lose_nothing_but_line_ends(texts: list[str], max_bytes: int) -> None:
    counts = TrainerInput()
    found = list(sentences([text.encode() for text in texts], counts, max_bytes))
    assert b"".join(found).decode() == "".join(texts).replace("\n", "")
    assert all(0 < len(line) <= max_bytes for line in found)
    assert (counts.lines, counts.bytes) == (len(found), sum(map(len, found)))
    assert not [line for line in found if not line.decode()]


def test_the_trainer_leaves_out_no_line(tmp_path: pathlib.Path) -> None:
    """Its own log agrees with the counts; read in a process of its own, because the log is the process's."""
    program = """
from tokenreel.tokenizer_training import train_sentencepiece
texts = [b"some words " * 2000, "half a \\u2585 line".encode(), b"nul \\0 here", b"a line\\n" * 50 + "日本語".encode() * 3000]
_, counts = train_sentencepiece(texts, {"model_type": "char", "hard_vocab_limit": False, "minloglevel": 0})
print(counts.lines)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (loaded,) = re.findall(r"Loaded all (\d+) sentences", done.stderr)
    assert int(loaded) == int(done.stdout) > 60
    assert "too long" not in done.stderr and "Reserved chars" not in done.stderr


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_text_gives_the_same_model_in_any_process(kind: str, texts: list[str], tmp_path: pathlib.Path) -> None:
    data = [text.encode() for text in texts[:400]]
    options = {"model_type": kind, "vocab_size": 500}
    model, counts = train_sentencepiece(data, options)
    (tmp_path / "text").write_bytes(b"\xff".join(data))
    program = (
        "import sys; from tokenreel.tokenizer_training.sentencepiece_training import train_sentencepiece\n"
        f"data = open({str(tmp_path / 'text')!r}, 'rb').read().split(b'\\xff')\n"
        f"sys.stdout.buffer.write(train_sentencepiece(data, {options!r})[0])"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout == model
    assert counts.lines > 1000


def test_a_vocabulary_that_the_text_does_not_fill_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"could not train on 2 lines, 10 bytes: .*Take a smaller options.vocab_size or more text"):
        train_sentencepiece([b"ab cd\nef gh"], {"model_type": "unigram", "vocab_size": 8000})


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_coverage_counts_characters_without_a_token(kind: str, byte_fallback: bool, tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {"model_type": kind, "vocab_size": 300, "byte_fallback": byte_fallback, "add_dummy_prefix": False}
    if kind != "bpe":
        options["hard_vocab_limit"] = False
    else:
        options["vocab_size"] = 275 if byte_fallback else 20
    model, _ = train_sentencepiece([b"abc bca cab abc\n" * 50], {**options, "character_coverage": 1.0})
    path = tmp_path / "model"
    path.write_bytes(model)
    found = measure_coverage(SentencePieceVocabulary(str(path)), ["abc 日本 cab".encode(), b"abc"])
    assert (found.documents, found.bytes) == (2, 17)
    unknown = 3 if kind == "word" else 2  # an unknown word has its space with it
    assert found.characters == 13 and found.missing == ({"▁": 1} if kind == "word" else {}) | {"日": 1, "本": 1}
    assert found.byte_tokens == (3 * unknown if byte_fallback else 0)
    assert found.unknown_tokens == (0 if byte_fallback else 1)
    plain = (found + found).to_json()
    assert plain["character_coverage"] == 1 - unknown / 13 and plain["covered_characters"] == 26 - 2 * unknown
    assert plain["missing_characters"][0][1] == 2
    nothing = measure_coverage(SentencePieceVocabulary(str(path)), [])
    assert nothing.tokens == nothing.characters == 0 and nothing.to_json()["tokens_per_byte"] == 0
