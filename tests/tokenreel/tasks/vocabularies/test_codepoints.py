"""Characters as ids; the values are those of SeqIO's own tests."""

from __future__ import annotations

import pickle

import pytest

from tokenreel.tasks.vocabularies import FullCodepointVocabulary, PartialCodepointVocabulary

TEXT = "this is a test"
FULL = [116, 104, 105, 115, 32, 105, 115, 32, 97, 32, 116, 101, 115, 116]
PARTIAL = [3, 4, 5, 6, 9, 5, 6, 9, 7, 9, 3, 8, 6, 3]
EOS = chr(0xE005)


def test_every_character() -> None:
    vocabulary = FullCodepointVocabulary()
    assert (vocabulary.vocab_size, vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0x10FFFF, 0, 0xE005, None)
    assert vocabulary.encode(TEXT) == FULL and vocabulary.encode(TEXT + EOS) == [*FULL, 57349]
    assert vocabulary.decode(FULL) == vocabulary.decode([*FULL, 57349]) == TEXT
    assert vocabulary == pickle.loads(pickle.dumps(vocabulary)) and vocabulary.fingerprint


@pytest.fixture
def partial(tmp_path) -> PartialCodepointVocabulary:
    (tmp_path / "characters").write_text("\n".join(str(ord(c)) for c in "thisae "))
    return PartialCodepointVocabulary.create_from_file(str(tmp_path / "characters"))


def test_some_characters(partial) -> None:
    assert partial == PartialCodepointVocabulary([ord(c) for c in "thisae "])
    assert (partial.vocab_size, partial.pad_id, partial.eos_id, partial.unk_id) == (10, 0, 1, 2)
    assert partial.encode(TEXT) == PARTIAL and partial.encode(TEXT + EOS) == [*PARTIAL, 1]
    assert partial.encode("This is a test!") == [2, *PARTIAL[1:], 2]
    assert partial.decode([2, *PARTIAL[1:], 2]) == "\ue004his is a test\ue004"
    assert partial.decode([*PARTIAL, 1]) == TEXT
    assert partial != PartialCodepointVocabulary([ord(c) for c in "thisae "], extra_ids=10)
    assert partial == pickle.loads(pickle.dumps(partial))
    assert partial.fingerprint != PartialCodepointVocabulary([5]).fingerprint


@pytest.mark.tensorflow
def test_tensors(partial) -> None:
    import tensorflow as tf

    for vocabulary, ids in ((FullCodepointVocabulary(), FULL), (partial, PARTIAL)):
        assert vocabulary.encode_tf(TEXT).numpy().tolist() == ids
        assert vocabulary.decode_tf(tf.constant(ids)).numpy().decode() == TEXT
        assert vocabulary.decode_tf(tf.constant([*ids, vocabulary.eos_id])).numpy().decode() == TEXT + EOS
