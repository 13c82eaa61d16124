"""Ids as they are."""

from __future__ import annotations

import numpy as np
import pytest

from tokenreel.tasks.vocabularies import PassThroughVocabulary

IDS = [2, 3, 4, 1, 5, 6, 7, 8, 9]


def test_everything_stays_but_what_follows_eos() -> None:
    without, with_eos = PassThroughVocabulary(size=128), PassThroughVocabulary(size=128, eos_id=1)
    assert without.encode(IDS) == without.decode(IDS) == with_eos.encode(IDS) == IDS
    assert with_eos.decode(IDS) == [2, 3, 4, 1]
    assert (without.vocab_size, without.size, without.eos_id, with_eos.eos_id) == (128, 128, None, 1)
    frames = np.ones((2, 3), np.float32)
    assert without.encode_value(frames) is frames and len(without.decode(frames)) == 2


def test_equality() -> None:
    assert PassThroughVocabulary(128) == PassThroughVocabulary(128)
    assert len({PassThroughVocabulary(128), PassThroughVocabulary(256), PassThroughVocabulary(128, 1), PassThroughVocabulary(128)}) == 3
    assert PassThroughVocabulary(128).fingerprint != PassThroughVocabulary(128, 1).fingerprint
    assert str(PassThroughVocabulary(128)) == "PassThroughVocabulary(size=128, eos_id=None)"


@pytest.mark.tensorflow
def test_tensors() -> None:
    import tensorflow as tf

    ids = tf.constant([IDS])
    assert PassThroughVocabulary(128).encode_tf(ids) is ids
    assert PassThroughVocabulary(128).decode_tf(ids).numpy().tolist() == [IDS]
    assert PassThroughVocabulary(128, 1).decode_tf(ids).numpy().tolist() == [[2, 3, 4, 1, 0, 0, 0, 0, 0]]
