"""What users' own vocabularies get from the base, in Python and over tensors."""

from __future__ import annotations

import numpy as np
import pytest

from tokenreel.tasks.vocabularies import Vocabulary

IDS = [84, 101, 115, 116, 105, 110, 103, 46]


class Ascii(Vocabulary):
    """A user's vocabulary, without methods over tensors."""

    def __init__(self, extra_ids: int = 0, use_eos: bool = True, use_unk: bool = True) -> None:
        super().__init__(extra_ids=extra_ids)
        self._use_eos, self._use_unk = use_eos, use_unk

    @property
    def eos_id(self):
        return 1 if self._use_eos else None

    @property
    def unk_id(self):
        return 2 if self._use_unk else None

    @property
    def _base_vocab_size(self):
        return 128

    def _encode(self, s):
        return [ord(c) for c in s]

    def _decode(self, ids):
        return "".join("<eos>" if i == 1 else chr(i) for i in ids if i > 0)


class OfTensors(Ascii):
    """A user's vocabulary as SeqIO asks for, whose methods in Python are not there."""

    def _encode(self, s):
        raise NotImplementedError

    def _encode_tf(self, s):
        import tensorflow as tf

        return tf.strings.unicode_decode(s, "UTF-8")

    def _decode_tf(self, ids):
        import tensorflow as tf

        return tf.strings.unicode_encode(ids, "UTF-8")


def test_properties() -> None:
    vocabulary = Ascii(use_eos=False, extra_ids=10)
    assert (vocabulary.extra_ids, vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id, vocabulary.vocab_size) == (10, 0, None, 2, 138)
    assert Ascii(use_unk=False).unk_id is None
    with pytest.raises(NotImplementedError, match="need to implement bos_id"):
        _ = vocabulary.bos_id


DECODED = [
    ({}, [161, *IDS, 127, 191, 1, 0, 10], "\x02Testing.\x7f\x02<eos>"),
    ({"use_eos": False, "extra_ids": 35}, [161, *IDS, 127, 191, 1, 33, 1], "\x02Testing.\x7f\x02<eos>!<eos>"),
    ({"use_unk": False}, [161, *IDS, 127, 191, 1, 33, 1], "¡Testing.\x7f¿<eos>"),
    ({"use_unk": False}, [161, *IDS, 127, 191], "¡Testing.\x7f¿"),
    ({"use_unk": False}, [1, *IDS], "<eos>"),
    ({"use_eos": False, "use_unk": False}, [161, *IDS, 127, 191, 1, 33, 1], "¡Testing.\x7f¿<eos>!<eos>"),
]


@pytest.mark.parametrize(("settings", "ids", "text"), DECODED)
def test_unknown_ids_and_what_follows_eos(settings, ids, text) -> None:
    assert Ascii(**settings).decode(ids) == text
    assert Ascii(**settings).decode(np.array(ids, dtype=np.int32)) == text


@pytest.mark.tensorflow
@pytest.mark.parametrize(("settings", "ids", "text"), DECODED)
def test_unknown_ids_and_what_follows_eos_in_tensors(settings, ids, text) -> None:
    import tensorflow as tf

    decoded = Ascii(**settings).decode_tf(tf.constant([ids, ids], tf.int32)).numpy()
    assert [row.decode() for row in decoded] == [text, text]
    assert Ascii(**settings).decode(tf.constant(ids)) == text


def test_values_of_examples() -> None:
    vocabulary = Ascii()
    encoded = vocabulary.encode_value(b"Testing.")
    assert encoded.dtype == np.int32 and encoded.tolist() == IDS
    rows = vocabulary.encode_value(np.array([[b"ab", b""], [b"c", b"d"]], dtype=object))
    assert rows.shape == (2, 2) and [ids.tolist() for ids in rows.ravel()] == [[97, 98], [], [99], [100]]


@pytest.mark.tensorflow
def test_texts_of_any_rank_in_tensors() -> None:
    import tensorflow as tf

    vocabulary = Ascii()
    assert vocabulary.encode_tf(tf.constant("Testing.")).numpy().tolist() == IDS
    assert vocabulary.encode_tf("Testing.").dtype == tf.int32
    assert vocabulary.encode_tf(tf.constant(["a", "", "bc"])).to_list() == [[97], [], [98, 99]]
    assert vocabulary.encode_tf(tf.constant([["a", "bc"], ["", "d"]])).to_list() == [[[97], [98, 99]], [[], [100]]]
    assert vocabulary.encode_tf(tf.ragged.constant([["a", "bc"], [], ["d"]])).to_list() == [[[97], [98, 99]], [], [[100]]]
    dataset = tf.data.Dataset.from_tensor_slices(["ab", "c"]).map(vocabulary.encode_tf)
    assert dataset.element_spec == tf.TensorSpec([None], tf.int32)
    assert [ids.tolist() for ids in dataset.as_numpy_iterator()] == [[97, 98], [99]]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([], b""),
        ([97], b"a"),
        ([[]], [b""]),
        ([[], []], [b"", b""]),
        ([[97, 98], []], [b"ab", b""]),
        ([[[97]], [[98], []]], [[b"a"], [b"b", b""]]),
    ],
)
def test_ragged_ids_in_tensors(ids, texts) -> None:
    import tensorflow as tf

    decoded = Ascii().decode_tf(tf.ragged.constant(ids, dtype=tf.int32))
    assert (decoded.to_list() if isinstance(decoded, tf.RaggedTensor) else np.asarray(decoded).tolist()) == texts


@pytest.mark.tensorflow
def test_a_vocabulary_written_for_tensors_alone() -> None:
    import tensorflow as tf

    vocabulary = OfTensors()
    assert vocabulary.encode_value(b"Testing.").tolist() == IDS
    assert vocabulary.decode_tf(tf.constant([97, 200, 98, 1, 99])).numpy() == b"a\x02b\x01\0"
