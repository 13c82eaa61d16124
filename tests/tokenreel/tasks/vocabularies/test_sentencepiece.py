"""SentencePiece with SeqIO's extra ids; the values are those of SeqIO's own tests."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.tokenreel.tasks import sentencepiece_models
from tokenreel.errors import VocabularyError
from tokenreel.tasks.vocabularies import SentencePieceVocabulary, sentencepiece

TEXT, IDS = "this is a test", [11, 8, 6, 3, 8, 6, 3, 5, 10]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return sentencepiece_models.write(tmp_path_factory.mktemp("model"))


def test_ids(path) -> None:
    vocabulary = SentencePieceVocabulary(path)
    assert vocabulary.encode(TEXT) == IDS and vocabulary.decode(IDS) == TEXT
    assert (vocabulary.vocab_size, vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id, vocabulary.bos_id) == (26, 0, 1, 2, -1)
    assert 1 not in vocabulary.encode("</s>")  # special symbols are no text
    assert vocabulary.decode([11, 99, 1, 8]) == "th ⁇ "


def test_extra_ids(path) -> None:
    vocabulary = SentencePieceVocabulary(path, extra_ids=10)
    assert (vocabulary.vocab_size, vocabulary.extra_ids) == (36, 10)
    assert vocabulary.encode("this <extra_id_0> is <extra_id_1>") == [11, 8, 6, 35, 3, 8, 6, 34]
    text, ids = "<extra_id_0> <extra_id_1> v <extra_id_9>", [35, 34, 3, 25, 26]
    assert vocabulary.encode(text) == ids and vocabulary.decode(ids) == text
    upwards = SentencePieceVocabulary(path, extra_ids=10, reverse_extra_ids=False)
    assert upwards.encode("<extra_id_0> this") == [26, 11, 8, 6]
    assert upwards.decode([26, 27]) == "<extra_id_0> <extra_id_1>"


def test_settings_of_the_normaliser(path) -> None:
    text = "a a  a   a"
    plain, kept = SentencePieceVocabulary(path), SentencePieceVocabulary(path, 0, {"remove_extra_whitespaces": False})
    assert plain.decode(plain.encode(text)) == "a a a a" and kept.decode(kept.encode(text)) == text

    class Message:  # as the library's own, which this project never imports
        def SerializeToString(self, deterministic: bool) -> bytes:
            return b"\x20\x00"

    assert SentencePieceVocabulary(path, 0, Message()) == kept == pickle.loads(pickle.dumps(kept)) != plain
    with pytest.raises(VocabularyError, match="no setting 'strip'"):
        SentencePieceVocabulary(path, 0, {"strip": True})


def test_blocks_have_the_same_ids(path) -> None:
    vocabulary = SentencePieceVocabulary(path, extra_ids=10)
    texts = ["this is a test", "", "<extra_id_0> this <extra_id_9>  test", "x" * 50, "tests:<extra_id_1>"]
    data, lengths = "".join(texts).encode(), [len(text) for text in texts]
    ids, counts = vocabulary.encode_block(np.frombuffer(data, np.uint8), np.cumsum([0, *lengths]))
    assert ids.tolist() == [i for text in texts for i in vocabulary.encode(text)]
    assert counts.tolist() == [len(vocabulary.encode(text)) for text in texts]


def test_values_of_many_examples_are_encoded_as_each_by_itself(path, monkeypatch) -> None:
    texts = np.array(["this is", "", "a test"], dtype=object)
    values = [
        b"this is a test", "", b"caf\xc3\xa9", b"broken \xff\xc3", "<extra_id_0> this", texts, texts[:0], texts.reshape(3, 1),
        texts.astype("U"), texts.astype("S"), np.array("this", dtype=object), b"a" * 500,
    ]  # fmt: skip

    class Lower(SentencePieceVocabulary):
        def _encode(self, s: str) -> list[int]:
            return super()._encode(s.lower())

    blocks = []
    whole = SentencePieceVocabulary.encode_block
    monkeypatch.setattr(sentencepiece, "_FEW_BYTES", 0)
    monkeypatch.setattr(SentencePieceVocabulary, "encode_block", lambda self, *block: blocks.append(block) or whole(self, *block))
    for kind, count in ((SentencePieceVocabulary, 1), (Lower, 0)):
        vocabulary = kind(path, extra_ids=10)
        alone = [plain(vocabulary.encode_value(value)) for value in values]
        assert [plain(each) for each in vocabulary.encode_values(values)] == alone and len(blocks) == count
        blocks.clear()
    monkeypatch.setattr(sentencepiece, "_FEW_BYTES", 1000)
    vocabulary = SentencePieceVocabulary(path, extra_ids=10)
    assert [plain(each) for each in vocabulary.encode_values(values)] == alone and not blocks
    replaced = SentencePieceVocabulary(path)
    replaced._encode = lambda s: [7]  # type: ignore[method-assign]
    assert [ids.tolist() for ids in replaced.encode_values([b"a"] * 9)] == [[7]] * 9 and not blocks


def plain(value):
    """Lists, with their types and shapes."""
    if value.dtype == object:
        return value.shape, [plain(each) for each in value.ravel()]
    return value.dtype.name, value.tolist()


def test_it_pickles_without_the_model_which_a_process_loads_once(path) -> None:
    vocabulary = SentencePieceVocabulary(path, extra_ids=1)
    vocabulary.load_model()
    copied = pickle.loads(pickle.dumps(vocabulary))
    assert len(pickle.dumps(vocabulary)) < 500 and copied == vocabulary and hash(copied) == hash(vocabulary)
    assert copied.tokenizer is vocabulary.tokenizer and copied.sp_model == vocabulary.sp_model
    other = SentencePieceVocabulary(path, extra_ids=2)
    assert other.tokenizer is not vocabulary.tokenizer and other != vocabulary and other.fingerprint != vocabulary.fingerprint
    assert path in str(vocabulary) and "extra_ids=1" in str(vocabulary)


def test_faults(tmp_path) -> None:
    with pytest.raises(VocabularyError, match=r"none\.model: cannot read the SentencePiece model"):
        SentencePieceVocabulary(str(tmp_path / "none.model")).encode("a")
    (tmp_path / "text.model").write_text("no model")
    with pytest.raises(VocabularyError, match=r"text\.model: not a SentencePiece model"):
        SentencePieceVocabulary(str(tmp_path / "text.model")).encode("a")


@pytest.mark.tensorflow
def test_tensors(path) -> None:
    import tensorflow as tf

    vocabulary = SentencePieceVocabulary(path, extra_ids=10)
    assert vocabulary.encode_tf(TEXT).numpy().tolist() == IDS
    for ids, texts in ((IDS, TEXT.encode()), ([IDS, IDS], [TEXT.encode()] * 2), ([[IDS], [IDS]], [[TEXT.encode()]] * 2)):
        assert np.array_equal(vocabulary.decode_tf(tf.constant(ids)).numpy(), texts)
    assert vocabulary.decode_tf(tf.constant([35, 34, 3, 25, 1, 8])).numpy() == b"<extra_id_0> <extra_id_1> v"
