"""What is read of a model file, and where texts may be cut."""

from __future__ import annotations

import pytest
import sentencepiece

from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model


def test_the_model_file_is_read_as_the_library_reads_it(train):
    data = train("bpe", "nmt_nfkc", False, add_dummy_prefix=False)
    model = sentencepiece_model.parse(data)
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert [piece.decode() for piece in model.pieces] == [library.id_to_piece(i) for i in range(library.vocab_size())]
    assert model.scores.tolist() == [library.get_score(i) for i in range(library.vocab_size())]
    assert [i for i, kind in enumerate(model.types) if kind == sentencepiece_model.CONTROL] == [
        i for i in range(library.vocab_size()) if library.is_control(i)
    ]
    assert not model.dummy_prefix and model.collapse and not model.byte_fallback and model.kind == sentencepiece_model.BPE


def test_the_normalisers_rules_are_read(train):
    rules = sentencepiece_model.parse(train("bpe", "nmt_nfkc_cf")).rules
    assert len(rules.first) > 100_000
    assert rules.single[ord("\t")] and rules.single[ord("A")] and not rules.single[ord("a")] and not rules.single[ord("e")]
    assert rules.pairs[ord("e"), "\u0301".encode()[0]] and not rules.pairs[ord("e"), ord("a")]
    cuts = sentencepiece_model.find_cuts(sentencepiece_model.parse(train("bpe", "nmt_nfkc")))
    assert {byte for byte in range(256) if cuts.plain_spaces[byte]} == set(b"\t\n\f\r ")


@pytest.mark.parametrize("cut", [1, 100, 5_000, 200_000])
def test_a_broken_model_is_no_model(train, cut):
    data = train("bpe", "nmt_nfkc")
    with pytest.raises(ValueError):
        sentencepiece_model.read_charsmap(b"\xff\xff\xff\x7f" + data[:cut])
    with pytest.raises(ValueError):
        sentencepiece_model.parse(data[:-1])


@pytest.mark.parametrize(("normalizer", "asked"), [("identity", ""), ("nfkc", ""), ("nmt_nfkc", "\t\n\x01\x7f")])
def test_few_bytes_leave_open_whether_a_text_begins_with_a_space(train, normalizer, asked):
    told = sentencepiece_model.find_plain_starts(sentencepiece_model.parse(train("bpe", normalizer)))
    assert told[0x20:0x7F].all() and not told[0x80:].any() and not told[[ord(byte) for byte in asked]].any()
    assert told[:0x20].all() == (not asked)
