from __future__ import annotations

import pickle

import numpy as np
import pytest

from tokenreel import ragged
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary


def block(documents):
    data = [document.encode() for document in documents]
    return np.frombuffer(b"".join(data), dtype=np.uint8), ragged.offsets_of(np.array([len(d) for d in data], dtype=np.int64))


@pytest.mark.parametrize("options", [{}, {"memo_bytes": 0}, {"memo_bytes": 10_000}])
def test_a_block_is_encoded_as_its_documents(unigram_model, texts, options):
    vocabulary = load_vocabulary("sentencepiece", unigram_model, **options)
    documents = ["", *texts[:200], "", "é ▁ \t日本", ""]
    ids, lengths = vocabulary.encode_block(*block(documents))
    assert ids.dtype == np.int32
    assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == [vocabulary.encode(text) for text in documents]


@pytest.mark.parametrize("documents", [[], [""], ["", ""]])
def test_blocks_without_text(unigram_model, documents):
    for vocabulary in (load_vocabulary("sentencepiece", unigram_model), load_vocabulary("bytes")):
        ids, lengths = vocabulary.encode_block(*block(documents))
        assert ids.tolist() == [] and lengths.tolist() == [0] * len(documents)


def test_a_pickled_vocabulary_gives_the_same_ids(unigram_model, texts):
    vocabulary = load_vocabulary("sentencepiece", unigram_model, memo_bytes=1 << 20)
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy.fingerprint == vocabulary.fingerprint
    for a, b in zip(copy.encode_block(*block(texts[:50])), vocabulary.encode_block(*block(texts[:50])), strict=True):
        assert a.tolist() == b.tolist()


def test_bytes_go_there_and_back():
    vocabulary = load_vocabulary("bytes")
    assert vocabulary.encode("é") == [0xC3 + 3, 0xA9 + 3]
    ids, lengths = vocabulary.encode_block(*block(["é", "", "ab"]))
    assert ids.tolist() == [*vocabulary.encode("é"), *vocabulary.encode("ab")] and lengths.tolist() == [2, 0, 2]
    assert vocabulary.decode([1, *vocabulary.encode("né"), 0]) == "né"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nonsense",), {}, "vocabulary.kind"),
        (("bytes",), {"memo_bytes": 1}, "takes no option 'memo_bytes'"),
        (("sentencepiece", "x"), {"colour": 1}, "takes no option 'colour'"),
        (("sentencepiece", "/nowhere/at.all"), {}, "cannot read the SentencePiece model"),
    ],
)
def test_what_cannot_be_loaded_is_named(arguments, options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(*arguments, **options)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "x.model").write_bytes(b"hello")
    with pytest.raises(VocabularyError, match="not a SentencePiece model"):
        load_vocabulary("sentencepiece", str(tmp_path / "x.model"))
