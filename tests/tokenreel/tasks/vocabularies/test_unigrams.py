"""Words by their place in a list; the values are those of SeqIO's own tests."""

from __future__ import annotations

import pickle

import pytest

from tokenreel.tasks.vocabularies import UnigramVocabulary

WORDS = ["this", "that", "is", "not", "a", "the", "test", "ball"]


@pytest.mark.parametrize("split", [False, True])
def test_ids(split) -> None:
    vocabulary = UnigramVocabulary(WORDS, split)
    assert (vocabulary.unk_id, vocabulary.vocab_size, vocabulary.eos_id, vocabulary.bos_id) == (9, 10, None, None)
    assert [vocabulary.encode(word) for word in ("that", "not", "apple")] == [[2], [4], [9]]
    assert vocabulary.encode("not that") == ([4, 2] if split else [9])
    assert [vocabulary.decode(ids) for ids in ([1], [9], [1, 3], [12])] == ["this", "UNK", "this is", "UNK"]
    assert vocabulary == pickle.loads(pickle.dumps(vocabulary)) != UnigramVocabulary(WORDS, not split)
    assert vocabulary.fingerprint != UnigramVocabulary(WORDS, not split).fingerprint


@pytest.mark.tensorflow
@pytest.mark.parametrize("split", [False, True])
def test_tensors(split) -> None:
    import tensorflow as tf

    vocabulary = UnigramVocabulary(WORDS, split)
    assert vocabulary.encode_tf(tf.constant("not that")).numpy().tolist() == ([4, 2] if split else [9])
    assert vocabulary.decode_tf(tf.constant([2])).numpy() == b"that"
    assert vocabulary.decode_tf(tf.constant([4, 2])).numpy() == (b"not that" if split else b"not")
