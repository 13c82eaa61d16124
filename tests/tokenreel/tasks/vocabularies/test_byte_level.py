"""Bytes as ids; the values are those of SeqIO's own tests."""

from __future__ import annotations

import pickle

import pytest

from tokenreel.tasks.vocabularies import ByteVocabulary

TEXT = "this is a test 🤗 你好"
IDS = [
    119, 107, 108, 118, 35, 108, 118, 35, 100, 35, 119, 104, 118, 119, 35, 243, 162, 167, 154, 35, 231, 192, 163, 232, 168, 192,
]  # fmt: skip


def test_ids() -> None:
    vocabulary = ByteVocabulary()
    assert vocabulary.encode(TEXT) == IDS and vocabulary.decode(IDS) == TEXT
    assert vocabulary.encode("héllo") == [107, 198, 172, 111, 111, 114]
    assert (vocabulary.vocab_size, vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id, vocabulary.bos_id) == (259, 0, 1, 2, None)
    assert vocabulary.encode_value(b"\xff").tolist() == [258]


def test_ids_that_are_no_bytes_decode_to_nothing() -> None:
    assert ByteVocabulary(extra_ids=10).vocab_size == 269
    assert ByteVocabulary(extra_ids=10).decode([100, 268]) == "a"
    assert ByteVocabulary().decode([260]) == ""
    assert ByteVocabulary().decode([*IDS, 0xC0, 0xC1]) == TEXT
    assert ByteVocabulary().decode([*IDS, 1, 100]) == TEXT


def test_equality() -> None:
    assert ByteVocabulary() == ByteVocabulary() == pickle.loads(pickle.dumps(ByteVocabulary()))
    assert ByteVocabulary() != ByteVocabulary(10)
    assert ByteVocabulary().fingerprint != ByteVocabulary(10).fingerprint


@pytest.mark.tensorflow
def test_tensors() -> None:
    import tensorflow as tf

    vocabulary = ByteVocabulary()
    assert vocabulary.encode_tf(TEXT).numpy().tolist() == IDS
    for ids in (IDS, [*IDS, 3000, -4000], [*IDS, 0xC0, 0xC1]):
        assert vocabulary.decode_tf(tf.constant(ids)).numpy().decode() == TEXT
    assert vocabulary.decode_tf(tf.constant([[IDS, IDS]])).numpy().tolist() == [[TEXT.encode()] * 2]
