import argparse
import html
import json
import re

import numpy as np
import pytest

from pipelines import cli
from tests.conftest import train_model
from tokenreel.commands import inspect
from tokenreel.format import naming
from tokenreel.inspection import examples, report
from tokenreel.inspection.examples import format_example
from tokenreel.inspection.opening import Origin
from tokenreel.vocabularies.byte_level import ByteVocabulary
from tokenreel.vocabularies.characters import write_character_model
from tokenreel.vocabularies.loading import load_vocabulary

BYTES = ByteVocabulary()


def ids(text):
    return BYTES.encode(text)


def example(**more):
    """The end of a document, a whole one, and two positions of padding."""
    tokens = [*ids("end"), 1, *ids("whole"), 1, 0, 0]
    starts = np.zeros(len(tokens), dtype=bool)
    starts[4] = True
    return {"tokens": np.array(tokens), "document_starts": starts, "num_tokens": np.array(10), "example_id": np.array(7)} | more


def test_documents_specials_and_padding_are_told_apart():
    assert format_example(example(), BYTES, title="train 7") == (
        "train 7\n"
        "--- 1: continued, positions 0 to 3\n"
        "end<eos>\n"
        "--- 2: a document begins, positions 4 to 9\n"
        "whole<eos>\n"
        "--- 2 positions of padding"
    )


def test_origins_name_the_documents():
    origins = [
        Origin(document="a.jsonl#17", source="web", start=5, length=4, metadata={"lang": "en", "url": None}),
        Origin(document="b", source="web", start=0, length=6),
    ]
    text = format_example(example(), BYTES, origins=origins)
    assert "--- 1: a.jsonl#17, its tokens 5 to 8 (web, lang: en)\nend<eos>\n" in text
    assert "--- 2: b, its tokens 0 to 5 (web)\nwhole<eos>" in text


def test_gaps_that_align_documents_are_no_documents():
    """With `align`, a start that is no multiple of it marks a gap."""
    tokens = np.array([*ids("abc"), 0, *ids("de"), 0, 0])
    starts = np.zeros(8, dtype=bool)
    starts[[0, 3, 4]] = True
    text = format_example({"tokens": tokens, "document_starts": starts, "num_tokens": np.array(6)}, BYTES, align=4)
    assert text == (
        "--- 1: a document begins, positions 0 to 2\nabc\n--- 2: a document begins, positions 4 to 5\nde\n--- 2 positions of padding"
    )


def test_tokens_are_shown_with_their_ids():
    assert "103:d 1:<eos>" in format_example(example(), BYTES, show_tokens=True)


def test_masked_positions_show_both_tokens():
    masks = {
        "mask_positions": np.array([5, 6, 0]),
        "mask_ids": np.array([*ids("h"), *ids("o"), 0]),
        "mask_weights": np.array([1.0, 1.0, 0.0]),  # the last place is unused
    }
    arrays = example(**masks)
    arrays["tokens"][5] = ids("X")[0]
    assert "w{X -> h}{o -> o}le<eos>" in format_example(arrays, BYTES)
    assert "{91:X -> 107:h}" in format_example(arrays, BYTES, show_tokens=True)


def test_other_fields_are_shown():
    arrays = {
        "inputs": np.array([*ids("in"), 1, 0]),
        "targets": np.array([*ids("out"), 1]),
        "weights": np.arange(20) / 2,
        "label": np.array(3),
    }
    assert format_example(arrays, BYTES).splitlines() == [
        "inputs: in<eos><pad>",
        "label: 3",
        "targets: out<eos>",
        "weights: 0 0.5 1 1.5 2 2.5 3 3.5 4 4.5 5 5.5 6 6.5 7 7.5 ... (20 values)",
    ]


def test_inputs_end_where_their_number_says():
    arrays = {"inputs": np.array([*ids("in"), 1, 0, 0, 0]), "num_inputs": np.array(3), "targets": np.array([*ids("out")])}
    assert format_example(arrays, BYTES).splitlines() == ["inputs: in<eos> (3 positions of padding)", "num_inputs: 3", "targets: out"]


def test_text_cannot_steer_the_terminal():
    arrays = {"tokens": np.array(ids("a\x1b[2Jb\r\x9b\tc\nd"))}
    text = format_example(
        arrays, BYTES, origins=[Origin(document="\x1b]0;x", source="s", start=0, length=len(arrays["tokens"]))], color=False
    )
    assert "\x1b" not in text and "\r" not in text and "\x9b" not in text
    assert "a\\x1b[2Jb\\x0d\\x9b\tc\nd" in text


def test_colour_adds_nothing_but_colour():
    plain, coloured = (format_example(example(), BYTES, title="t", color=color) for color in (False, True))
    assert "\x1b[" not in plain
    assert "\x1b[33m<eos>\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_ids_that_share_a_number_share_a_name():
    vocabulary = load_vocabulary("pass_through", vocab_size=2, pad_id=1, bos_id=1, eos_id=1)
    assert format_example({"tokens": np.array([1, 0])}, vocabulary).endswith("<pad|bos|eos>0")


@pytest.mark.parametrize(
    ("token", "name"),
    [(0, "<pad>"), (13, "\\n"), (30, "\\x1b"), (100, "a"), (130, "\\x7f"), (131, "<0x80>"), (258, "<0xFF>"), (259, "?"), (-1, "?")],
)
def test_bytes_have_names(token, name):
    assert examples.piece_name(token, BYTES) == name


def test_tokens_of_every_kind_have_names(tmp_path):
    """A word piece inside a word and one that is a word are told apart; an id that the tokenizer leaves out is a number."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "[MASK]": 1, "else": 3, "##else": 4}, unk_token="[UNK]"))
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    word_pieces = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"))
    assert [examples.piece_name(token, word_pieces) for token in range(6)] == ["<unk>", "[MASK]", "#2", "else", "##else", "?"]
    write_character_model(str(tmp_path / "characters.json"), ["a", "\n", " "], "none")
    characters = load_vocabulary("characters", str(tmp_path / "characters.json"))
    names = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "\\n", " ", "?"]
    assert [examples.piece_name(token, characters) for token in range(8)] == names
    numbers = load_vocabulary("pass_through", vocab_size=9, eos_id=1)
    assert [examples.piece_name(token, numbers) for token in (1, 7, 9)] == ["<eos>", "7", "?"]


def test_a_built_dataset_shows_pieces_as_its_model_writes_them(write_config, tmp_path, unigram_model, capsys):
    """`▁the` and `the` are different tokens: in the terminal and in the report."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=unigram_model)
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    twins = {piece for piece in pieces if f"▁{piece}" in pieces}
    assert len(twins) > 10
    assert cli.main(["build", write_config(), "--direct_num_workers=1"]) == 0
    capsys.readouterr()
    assert run(tmp_path / "dataset", "--tokens", "--count", "400") == 0
    shown = {(int(token), name) for token, name in re.findall(r"(?:^| )(\d+):(\S+)", capsys.readouterr().out, re.MULTILINE)}
    assert len(shown) > 300
    for token, name in shown:
        assert name == {0: "<pad>", 1: "<eos>", 2: "<unk>"}.get(token, pieces[token])
    assert {name for _, name in shown} & twins and {name.removeprefix("▁") for _, name in shown if name.startswith("▁")} & twins
    report.write(str(tmp_path / "dataset"))
    page = (tmp_path / "dataset" / naming.REPORT).read_text(encoding="utf-8")
    frequent = json.loads((tmp_path / "dataset" / naming.STATISTICS).read_text())["splits"]["train"]["frequent_tokens"]
    marked = [pieces[token] for token, _ in frequent[:20] if pieces[token].startswith("▁") and len(pieces[token]) > 1]
    assert marked and all(f">{html.escape(piece)}<" in page for piece in marked)


def run(*argv):
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    return inspect.run(parser.parse_args([str(argument) for argument in argv]))


def test_control_symbols_show_by_name(tmp_path, texts):
    """[CLS] and [SEP] were left out of the text, and a masked position read `{#6 -> else}`."""
    path = train_model(texts[:200], tmp_path, "unigram", 400, control_symbols=["[CLS]", "[SEP]", "[MASK]"])
    vocabulary = load_vocabulary("sentencepiece", path)
    cls, sep, mask, word = (vocabulary.find(name) for name in ("[CLS]", "[SEP]", "[MASK]", "\u2581the"))
    tokens = np.array([cls, word, mask, sep])
    masked = {"mask_positions": np.array([2]), "mask_ids": np.array([word]), "mask_weights": np.array([1.0])}
    shown = format_example({"tokens": tokens, "document_starts": np.array([True, False, False, False]), **masked}, vocabulary)
    assert shown.splitlines()[-1] == "[CLS]the{[MASK] -> \u2581the}[SEP]"
