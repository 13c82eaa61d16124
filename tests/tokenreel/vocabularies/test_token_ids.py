from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import cli
from tests.tokenreel.vocabularies.blocks import block
from tokenreel import load as load_dataset
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary

VOCABULARY = load_vocabulary("pass_through", vocab_size=50_000, eos_id=49_999)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 49_999), max_size=6), max_size=6), st.sampled_from([" ", "\n", "\t  ", ", "]))
def test_numbers_become_ids(documents, between):
    ids, lengths = VOCABULARY.encode_block(*block([between.join(map(str, numbers)) for numbers in documents]))
    assert ids.dtype == np.int32
    assert ids.tolist() == [number for numbers in documents for number in numbers]
    assert lengths.tolist() == list(map(len, documents))


def test_documents_end_numbers_and_json_arrays_are_read():
    ids, lengths = VOCABULARY.encode_block(*block(["1", "2", "", "[3, 4]", "005", " 6 "]))
    assert ids.tolist() == [1, 2, 3, 4, 5, 6] and lengths.tolist() == [1, 1, 0, 2, 1, 1]
    assert VOCABULARY.encode("7 8") == [7, 8] and VOCABULARY.decode(np.array([7, 8])) == "7 8"


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("1 -2", "not_token_ids", r"'-2' \(number 2\)"),
        ("1.5", "not_token_ids", "'1.5'"),
        ("1e3", "not_token_ids", "'1e3'"),
        ("hello 1", "not_token_ids", "'hello'"),
        ("٣", "not_token_ids", "'٣'"),
        ("1\u00a02", "not_token_ids", "number 1"),
        ("1 50000", "id_out_of_range", r"the id 50000 \(number 2\) is not below .*50000"),
        ("9" * 400, "id_out_of_range", "the id 9{40} "),
        ("00000000001", "id_out_of_range", "the id 00000000001"),
    ],
)
def test_documents_that_hold_something_else_are_refused(text, reason, message):
    refused = VOCABULARY.refused(*block(["1 2", text, "", "3"]))
    assert list(refused) == [1] and refused[1][0] == reason
    for call in (lambda: VOCABULARY.encode(text), lambda: VOCABULARY.encode_block(*block(["1", text]))):
        with pytest.raises(VocabularyError, match=message):
            call()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="0149 -x[é", max_size=8), max_size=6))
def test_either_all_ids_are_there_or_the_document_is_refused(documents):
    vocabulary = load_vocabulary("pass_through", vocab_size=149)
    refused = vocabulary.refused(*block(documents))
    for i, text in enumerate(documents):
        words = text.replace("[", " ").split(" ")
        good = all(word.isascii() and (not word or (word.isdigit() and int(word) < 149)) for word in words)
        assert (i in refused) == (not good)
    kept = [text for i, text in enumerate(documents) if i not in refused]
    ids, _ = vocabulary.encode_block(*block(kept))
    assert ids.tolist() == [int(word) for text in kept for word in text.replace("[", " ").split()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "vocab_size must be the number of ids"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": "5"}, "vocab_size"),
        ({"vocab_size": 5, "eos_id": 5}, "eos_id must lie between 0 and 4, got 5"),
        ({"vocab_size": 5, "colour": 5}, "takes no option 'colour'"),
    ],
)
def test_options_that_are_wrong(options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary("pass_through", **options)


def test_options_decide_the_fingerprint():
    all_options = [{"vocab_size": 5}, {"vocab_size": 6}, {"vocab_size": 5, "eos_id": 0}, {"vocab_size": 5, "pad_id": 0}]
    assert len({load_vocabulary("pass_through", **options).fingerprint for options in all_options}) == 4
    copy = pickle.loads(pickle.dumps(VOCABULARY))
    assert copy.fingerprint == VOCABULARY.fingerprint and (copy.vocab_size, copy.eos_id, copy.pad_id) == (50_000, 49_999, None)


def test_a_build_keeps_every_id_and_sends_the_rest_to_the_dead_letters(write_config, tmp_path):
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 1000, rng.integers(1, 40)).tolist() for _ in range(300)]
    lines = [" ".join(map(str, ids)) for ids in documents]
    lines[7], lines[100] = "5 x 6", "4 1000"
    (tmp_path / "ids.txt").write_text("\n".join(lines) + "\n")
    config = write_config(
        sources=[{"name": "ids", "files": [str(tmp_path / "ids.txt")], "format": "lines"}],
        vocabulary={"kind": "pass_through", "options": {"vocab_size": 1001, "eos_id": 1000}},
        splits={},
        order={"mode": "source"},
        packing={"seq_len": 16, "last_example": "pad"},
    )
    lines[100] = "4 1001"
    (tmp_path / "ids.txt").write_text("\n".join(lines) + "\n")
    assert cli.main(["build", config, "--direct_num_workers=1", "--set", "execution.block_mb=0.002"]) == 0
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    letters = [json.loads(line) for line in (tmp_path / "dataset/dead_letters/dead_letters.jsonl").read_text().splitlines()]
    places = [sum(len(line) + 1 for line in lines[:i]) for i in (7, 100)]
    assert [(letter["reason"], letter["position"], letter["line"], letter["excerpt"]) for letter in letters] == [
        ("not_token_ids", places[0], None, "5 x 6"),
        ("id_out_of_range", places[1], None, "4 1001"),
    ]
    dataset = load_dataset(str(tmp_path / "dataset"))
    stream = np.concatenate([dataset[i]["tokens"][: dataset[i].get("num_tokens", 16)] for i in range(len(dataset))])
    kept = [[*ids, 1000] for i, ids in enumerate(documents) if i not in (7, 100)]
    assert stream.tolist() == [number for ids in kept for number in ids]
    assert dataset.vocabulary().decode(stream[:3]) == " ".join(map(str, stream[:3]))


def test_too_many_refused_documents_end_the_build(write_config, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("1 2 3\nno ids\n" * 500)
    config = write_config(
        sources=[{"name": "ids", "files": [str(tmp_path / "ids.txt")], "format": "lines"}],
        vocabulary={"kind": "pass_through", "options": {"vocab_size": 10, "eos_id": 0}},
        splits={},
    )
    assert cli.main(["build", config, "--direct_num_workers=1"]) != 0
    assert "ids: ids.txt byte 6: 'no' (number 1) is no token id" in capsys.readouterr().err
