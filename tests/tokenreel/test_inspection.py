import argparse
import re
import types

import numpy as np
import pytest

from tests import verification_datasets as datasets
from tokenreel import inspection, terminal
from tokenreel.errors import ConfigError, ManifestError, TokenreelError
from tokenreel.inspection import Origin, format_example
from tokenreel.vocabularies import ByteVocabulary

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
    vocabulary = types.SimpleNamespace(pad_id=1, bos_id=1, eos_id=1, unk_id=None, vocab_size=2, decode=lambda ids: "x" * len(ids))
    assert format_example({"tokens": np.array([1, 0])}, vocabulary).endswith("<pad|bos|eos>x")


@pytest.mark.parametrize(("token", "name"), [(0, "<pad>"), (1, "\\n"), (2, "#2"), (3, "?"), (-1, "?")])
def test_tokens_have_names(token, name):
    vocabulary = types.SimpleNamespace(
        pad_id=0, bos_id=None, eos_id=None, unk_id=None, vocab_size=3, decode=lambda ids: ["", "\n", ""][ids[0]]
    )
    assert inspection.piece_name(token, vocabulary) == name


def run(*argv):
    parser = argparse.ArgumentParser()
    inspection.add_arguments(parser)
    return inspection.run(parser.parse_args([str(argument) for argument in argv]))


@pytest.fixture(scope="module", params=["fixed", "int64_list"])
def dataset(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset")
    datasets.make(directory, record_format=request.param, dead_letters=1)
    return directory


def test_the_command_shows_every_example_of_a_split(dataset, capsys):
    """Decoding all examples gives the documents back, in order."""
    assert run(dataset, "--split", "validation", "--count", "1000") == 0
    shown = capsys.readouterr().out
    assert "\x1b[" not in shown
    text = "".join(line for line in shown.splitlines() if not line.startswith(("---", "validation ")))
    assert text == "".join(f"{document}<eos>" for document in datasets.texts(9, 1))


def test_the_command_finds_examples_in_later_shards(dataset, capsys):
    assert run(dataset, "--index", "-1", "--count", "5", "--provenance") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("train 151 of 152: ")
    assert "train/59, its tokens" in shown
    assert "positions of padding" in shown


def test_colour_follows_the_terminal_and_the_wish(dataset, capsys, monkeypatch):
    run(dataset, "--color", "always")
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.wants_color("auto")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.wants_color("auto")
    assert terminal.wants_color("always")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--index", "152"], "split train has 152 examples"),
        (["--index", "-153"], "split train has 152 examples"),
        (["--split", "test"], "has the splits train, validation"),
    ],
)
def test_what_is_not_there_is_said(dataset, argv, message):
    with pytest.raises(ConfigError, match=message):
        run(dataset, *argv)


def test_a_damaged_record_is_shown_and_said(tmp_path, capsys):
    found = datasets.make(tmp_path)
    path = tmp_path / found.splits["train"].shards[0].file
    data = bytearray(path.read_bytes())
    data[dict(zip([f.name for f in found.features], found.layout.offsets, strict=True))["tokens"]] ^= 3
    path.write_bytes(data)
    assert run(tmp_path, "--count", "1") == 1
    assert "this record is damaged: its CRC does not match its bytes: if one byte was altered" in capsys.readouterr().out
    path.write_bytes(data[:100])
    with pytest.raises(ManifestError, match="ends before or inside record 0"):
        run(tmp_path)
    path.unlink()
    with pytest.raises(ManifestError, match="missing"):
        run(tmp_path)


def test_provenance_that_is_not_there_is_said(tmp_path, monkeypatch):
    datasets.make(tmp_path, provenance=False)
    with pytest.raises(ManifestError, match=r"shards\.provenance: false"):
        run(tmp_path, "--provenance")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(TokenreelError, match="pip install pyarrow"):
        run(tmp_path, "--provenance")


def test_the_trainers_command_prints_errors_alone(tmp_path, capsys):
    assert inspection.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("tokenreel-inspect: error: ")
