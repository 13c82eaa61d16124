"""BERT's word pieces; the first values are those of SeqIO's own tests, the others those of TensorFlow Text 2.21."""

from __future__ import annotations

import pickle

import pytest

from tokenreel.errors import VocabularyError
from tokenreel.tasks.vocabularies import BertWordPieceVocabulary


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("pieces") / "vocab.txt"
    pieces = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "is", "this", "test"]
    path.write_text("\n".join([*pieces, "##s", "##ing", ",", "é", "e", "  "]))
    return str(path)


def test_ids(path) -> None:
    vocabulary = BertWordPieceVocabulary(path)
    assert vocabulary.encode("this is a test") == [106, 105, 104, 107]
    assert vocabulary.decode([106, 105, 104, 107]) == "this is a test"
    assert vocabulary.decode([101, 103, 100]) == "[CLS] [MASK] [UNK]"
    assert vocabulary.encode("tests, testing testx\tis") == [107, 108, 110, 107, 109, 100, 105]
    assert (vocabulary.vocab_size, vocabulary.pad_id, vocabulary.sos_id, vocabulary.eos_id, vocabulary.unk_id) == (115, 0, 101, 102, 100)


def test_options(path) -> None:
    def encode(text, **options):
        return BertWordPieceVocabulary(path, **options).encode(text)

    assert encode("THIS É", lower_case=True) == [106, 112] and encode("THIS É") == [100, 100]
    assert encode("e\u0301", normalization_form="NFC") == [111]
    assert encode("[unused3] is", preserve_unused_token=True) == [4, 105] and encode("[unused3]") == [100, 100, 100]
    assert encode("is  a", keep_whitespace=True) == [105, 113, 104]
    assert encode("xtestx", split_unknown_characters=True) == [100, 114, 114, 108, 114, 114]
    assert encode("testing", max_bytes_per_word=6) == [100]
    assert encode("testing", max_chars_per_token=3) == [100]
    assert encode("x", unknown_token=None) == [114]


def test_equality_and_faults(path, tmp_path) -> None:
    vocabulary = BertWordPieceVocabulary(path)
    assert vocabulary == pickle.loads(pickle.dumps(vocabulary)) != BertWordPieceVocabulary(path, start_of_sequence_id=100)
    assert vocabulary.fingerprint != BertWordPieceVocabulary(path, lower_case=True).fingerprint
    with pytest.raises(VocabularyError, match=r"there is no piece '\[OOV\]'"):
        BertWordPieceVocabulary(path, unknown_token="[OOV]")
    with pytest.raises(VocabularyError, match="none: cannot read the pieces"):
        BertWordPieceVocabulary(str(tmp_path / "none"))


@pytest.mark.tensorflow
def test_tensors(path) -> None:
    import tensorflow as tf

    vocabulary = BertWordPieceVocabulary(path)
    assert vocabulary.encode_tf("this is a test").numpy().tolist() == [106, 105, 104, 107]
    assert vocabulary.decode_tf(tf.constant([101, 103, 100, 102, 104])).numpy() == b"[CLS] [MASK] [UNK] [SEP] [PAD]"
