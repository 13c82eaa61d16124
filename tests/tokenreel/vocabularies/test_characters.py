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
from tokenreel.vocabularies.characters import NORMALIZERS, CharacterVocabulary, normalize, write_character_model
from tokenreel.vocabularies.loading import load_vocabulary

CHARACTERS = ["e", "t", " ", "\n", "é", "日", "😀", "\0", "ς", "σ", "i"]


def model(tmp_path, characters=CHARACTERS, normalizer="none", **entries):
    path = str(tmp_path / f"{normalizer}.json")
    write_character_model(path, characters, normalizer)
    if entries:
        with open(path, encoding="utf-8") as file:
            content = json.load(file) | entries
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
    return path


def test_ids_follow_the_specials_in_the_order_of_the_file(tmp_path):
    vocabulary = load_vocabulary("characters", model(tmp_path))
    assert (vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2, 3)
    assert vocabulary.encode("té x😀") == [5, 8, 6, 3, 10]
    assert vocabulary.decode([1, 5, 8, 6, 3, 10, 2, 0]) == "té \ufffd😀"
    assert vocabulary.vocab_size == 4 + len(CHARACTERS) and vocabulary.piece(4) == "e" and vocabulary.find("</s>") == 2
    assert vocabulary.characters == [None] * 4 + CHARACTERS and vocabulary.word_starts is None


def test_other_specials_have_ids_too(tmp_path):
    vocabulary = load_vocabulary("characters", model(tmp_path, specials=["<unk>", "<mask>"]))
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id, vocabulary.find("<mask>")) == (None, None, 0, 1)
    assert vocabulary.encode("ex") == [2, 0]


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("eéE\u0301\u0323 tTΣσς\0ﬁ㎏한ᄒ\u1161İß日x\n"), max_size=8), max_size=8))
def test_a_block_is_encoded_as_its_documents(tmp_path_factory, normalizer, documents):
    characters = sorted({c for text in [*documents, "e"] for c in normalize(text, normalizer)})[::2]
    vocabulary = load_vocabulary("characters", model(tmp_path_factory.mktemp("model"), characters, normalizer))
    ids, lengths = vocabulary.encode_block(*block(documents))
    assert ids.dtype == np.int32 and lengths.dtype == np.int64 and len(lengths) == len(documents)
    assert ids.tolist() == [i for text in documents for i in vocabulary.encode(text)]
    assert lengths.tolist() == [len(vocabulary.encode(text)) for text in documents]


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_nul_keeps_what_lies_beside_it_apart(normalizer):
    sides = ["e", "\u0301", "\u0323\u0301", "Σ", "aΣ", "ᄒ", "\u1161", "\u11ab", "İ", "\u200d", "\u0345", "'"]
    for left in sides:
        for right in sides:
            assert normalize(f"{left}\0{right}", normalizer) == f"{normalize(left, normalizer)}\0{normalize(right, normalizer)}"


@pytest.mark.parametrize("name", ["nfc", "nfkc", "nfkc_casefold", "nfd", "nfkd"])
def test_normalizing_again_changes_nothing(name):
    everything = "\0".join(chr(point) for point in range(0x30000) if not 0xD800 <= point < 0xE000)
    once = normalize(everything, name)
    assert normalize(once, name) == once


def test_the_fingerprint_is_that_of_what_decides_the_ids(tmp_path):
    first = CharacterVocabulary(model(tmp_path))
    assert CharacterVocabulary(model(tmp_path, counts=list(range(len(CHARACTERS))))).fingerprint == first.fingerprint
    others = [model(tmp_path, CHARACTERS[::-1]), model(tmp_path, normalizer="nfc"), model(tmp_path, specials=["<unk>", "<pad>"])]
    assert len({first.fingerprint, *(CharacterVocabulary(path).fingerprint for path in others[1:])}) == 3
    copy = pickle.loads(pickle.dumps(first))
    assert copy.fingerprint == first.fingerprint and copy.encode("té") == first.encode("té")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": "tokenreel-characters-2"}, "its format is not"),
        ({"normalizer": "NFC"}, "its normalizer 'NFC' is none of"),
        ({"characters": ["a", "bc"]}, "'bc' is not one character"),
        ({"characters": ["a", "\ud800"]}, "is not one character"),
        ({"characters": ["a", "a"]}, "comes twice"),
        ({"characters": []}, "not a list of texts"),
        ({"specials": "ab"}, "not a list of different names"),
        ({"specials": ["<pad>"]}, "lack <unk>"),
        ({"specials": ["<unk>", "<unk>"]}, "different names"),
        ({"specials": ["<unk>", "a"]}, "a special is a single character"),
        ({"counts": [1]}, "counts"),
        ({"colour": 1}, "unknown entries"),
        ({"normalizer": []}, r"its normalizer \[\] is none of"),
    ],
)
def test_files_that_are_no_models(tmp_path, entries, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary("characters", model(tmp_path, **entries))


def test_what_cannot_be_read_or_written(tmp_path):
    with pytest.raises(VocabularyError, match="cannot read the character model"):
        load_vocabulary("characters", str(tmp_path / "none.json"))
    (tmp_path / "x.json").write_bytes(b"\x80")
    with pytest.raises(VocabularyError, match="not a character model"):
        load_vocabulary("characters", str(tmp_path / "x.json"))
    with pytest.raises(VocabularyError, match="comes twice"):
        write_character_model(str(tmp_path / "y.json"), ["a", "a"], "none")
    with pytest.raises(VocabularyError, match="normalizer"):
        normalize("a", "NFC")
    assert not (tmp_path / "y.json").exists()


def test_a_build_and_its_reader(write_config, tmp_path, texts):
    path = model(tmp_path, sorted({character for text in texts for character in text if character.isascii()}), "lowercase")
    config = write_config(vocabulary={"kind": "characters", "path": path}, objective={"name": "causal_lm"})
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    dataset = load_dataset(str(tmp_path / "dataset"))
    vocabulary = dataset.vocabulary()
    assert vocabulary.fingerprint == load_vocabulary("characters", path).fingerprint
    shown = vocabulary.decode(dataset[0]["tokens"])
    assert shown == shown.lower() and any(shown[5:40] in text.lower() for text in texts)
