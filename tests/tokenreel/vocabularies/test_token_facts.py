"""What is kept of a tokenizer's tokens: what the library says of each, told without it."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, trainers

from tests.tokenreel.vocabularies.blocks import block
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies import huggingface, token_facts
from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.token_roles import ROLES

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "[MASK]"]
ADDED = [
    AddedToken("<plain>"),
    AddedToken("<|left|>", lstrip=True, special=True),
    AddedToken("<right>", rstrip=True),
    AddedToken("<Both>", lstrip=True, rstrip=True, normalized=True),
    AddedToken("word", single_word=True),
    AddedToken("a b", normalized=True),
    AddedToken("日本 é", special=True),
    AddedToken("\n\n", normalized=False),
]
KINDS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "byte-level BPE": lambda: (models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), trainers.BpeTrainer),
    "Metaspace BPE": lambda: (models.BPE(unk_token="<unk>", fuse_unk=True), pre_tokenizers.Metaspace(), trainers.BpeTrainer),
    "WordPiece": lambda: (models.WordPiece(unk_token="<unk>"), pre_tokenizers.BertPreTokenizer(), trainers.WordPieceTrainer),
    "WordLevel": lambda: (models.WordLevel(unk_token="<unk>"), pre_tokenizers.Whitespace(), trainers.WordLevelTrainer),
    "Unigram": lambda: (models.Unigram(), pre_tokenizers.Metaspace(), trainers.UnigramTrainer),
}
MORE = {"Unigram": {"unk_token": "<unk>"}, "byte-level BPE": {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Keeps small files too, and nothing of other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(token_facts, "_SMALL_BYTES", 0)
    monkeypatch.setattr(huggingface, "_FAST_PATHS", {})
    yield tmp_path / "cache/tokenreel/arrays"


@pytest.fixture(scope="module")
def train(texts: list[str]) -> Callable[[str, str], bytes]:
    """Gives a file of a kind: as it was trained, with `added` tokens, with an `empty` name, or with ids that have `holes`."""
    made: dict[tuple[str, str], bytes] = {}

    def make(kind: str, how: str) -> bytes:
        if (kind, how) not in made:
            model, pre_tokenizer, trainer = KINDS[kind]()
            tokenizer = tokenizers.Tokenizer(model)
            tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizer, normalizers.NFC()
            options = {"vocab_size": 600, "special_tokens": SPECIAL, "show_progress": False, **MORE.get(kind, {})}
            tokenizer.train_from_iterator(texts[:200], trainer(**options))
            if how == "added":
                tokenizer.add_tokens(ADDED)
            content = json.loads(tokenizer.to_str())
            if how == "holes":  # the last third of the pieces, and none that is special
                vocab = content["model"]["vocab"]
                content["model"]["vocab"] = {piece: i + 40 * (i > 400) for piece, i in vocab.items()}
            made[kind, how] = json.dumps(content).encode()
        return made[kind, how]

    return make


CASES = [(kind, how) for kind in KINDS for how in ("trained", "added", "holes") if (kind, how) != ("Unigram", "holes")]  # a list of pieces


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: Any) -> None:
        raise AssertionError("the library is loaded")

    monkeypatch.setattr(HuggingFaceVocabulary, "_load", load)


def facts(vocabulary: HuggingFaceVocabulary) -> dict[str, Any]:
    """All that a vocabulary tells."""
    starts = vocabulary.word_starts
    return {
        "pieces": [vocabulary.piece(i) for i in range(-1, vocabulary.vocab_size + 2)],
        "added": vocabulary.added_tokens(),
        "word_starts": None if starts is None else starts.tolist(),
        "special": vocabulary.describe_special(),
        "objective": {name: np.asarray(value).tolist() for name, value in vocabulary.objective_facts().items()},
        **{name: getattr(vocabulary, name) for name in ("fingerprint", "resolved", "vocab_size", "eos_id", "unk_id", "mask_id")},
    }


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize(("kind", "how"), CASES)
def test_what_is_kept_is_what_the_library_says(
    train: Callable[[str, str], bytes], kind: str, how: str, special_tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = train(kind, how)
    library = tokenizers.Tokenizer.from_buffer(data)
    options = {"special_tokens": special_tokens, **({"eos_id": "<plain>"} if how == "added" else {})}

    def load() -> Any:
        return load_vocabulary("huggingface", "tokenizer.json", data=data, beside={}, **options)

    first = facts(load())
    forbid(monkeypatch)
    second = load()
    assert facts(second) == first == facts(pickle.loads(pickle.dumps(second)))
    tokens = library.get_vocab(with_added_tokens=True)
    assert first["vocab_size"] == max(tokens.values()) + 1
    assert (len(tokens) < first["vocab_size"]) == (how == "holes")
    added = {i: token.content for i, token in library.get_added_tokens_decoder().items()}
    named = [added.get(i) or library.id_to_token(i) for i in range(first["vocab_size"])]
    assert first["pieces"] == [None, *named, None, None]
    assert {name: named[i] for name, i in tokens.items() if named[i] != name} == {}  # here none is normalised
    ends = tokens["<plain>" if how == "added" else "</s>"]
    special = {i: token.special or (i == ends and not special_tokens) for i, token in library.get_added_tokens_decoder().items()}
    assert first["added"] == special and first["eos_id"] == ends and len(special) == len(SPECIAL) + len(ADDED) * (how == "added")
    prefix = {"byte-level BPE": "Ġ", "WordPiece": "##"}.get(kind, "▁")
    begins = [name is not None and i not in added and name.startswith(prefix) != (kind == "WordPiece") for i, name in enumerate(named)]
    assert first["word_starts"] == (begins if any(begins) else None)


@pytest.mark.parametrize("kind", ["byte-level BPE", "WordPiece"])
def test_texts_are_encoded_without_the_library(
    train: Callable[[str, str], bytes], texts: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = train(kind, "trained")
    library = tokenizers.Tokenizer.from_buffer(data)
    library.encode_special_tokens = True
    expected = [library.encode(text, add_special_tokens=False).ids for text in texts[:20]]
    for time in range(2):
        vocabulary: Any = load_vocabulary("huggingface", "tokenizer.json", data=data, beside={})
        if time and kind == "byte-level BPE":  # words ask the library for new characters
            forbid(monkeypatch)
        ids, lengths = vocabulary.encode_block(*block(texts[:20]))
        assert [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] == expected
        huggingface._FAST_PATHS.clear()


def test_a_refused_file_is_refused_each_time(train: Callable[[str, str], bytes], folder: pathlib.Path) -> None:
    content = json.loads(train("byte-level BPE", "trained"))
    content["added_tokens"].append({**content["added_tokens"][3], "id": len(content["model"]["vocab"]), "content": "<eos>"})
    two = json.dumps(content).encode()
    for data, options, message in (
        (b"{}", {}, "not a tokenizer"),
        (two, {}, "several tokens may be its eos"),
        (two, {"eos_id": 100_000}, "has no token 100000"),
        (two, {"eos_id": True}, "has no token True"),
    ):
        said = []
        for _ in range(3):
            with pytest.raises(VocabularyError, match=message) as raised:
                load_vocabulary("huggingface", "x/tokenizer.json", data=data, beside={}, **options)
            said.append(str(raised.value))
        assert len(set(said)) == 1
    assert not list(folder.glob("*"))
    assert load_vocabulary("huggingface", "x", data=two, beside={}, eos_id=1).eos_id == 1
    with pytest.raises(VocabularyError, match="True"):  # which equals 1
        load_vocabulary("huggingface", "x", data=two, beside={}, eos_id=True)


def test_what_decides_keeps_facts_apart(train: Callable[[str, str], bytes], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = train("WordPiece", "added")
    beside = {"tokenizer_config.json": b'{"eos_token": "<plain>"}'}
    ids = dict.fromkeys(ROLES) | {"eos": 7}
    variants: list[dict[str, Any]] = [
        {},
        {"special_tokens": True},
        {"eos_id": 4},
        {"eos_id": "<right>"},
        {"beside": beside},
        {"stored": token_facts.Stored(ids=ids, older=False)},
        {"stored": token_facts.Stored(ids=ids, older=True)},
    ]

    def load(options: dict[str, Any]) -> Any:
        return HuggingFaceVocabulary("x", data=data, **{"beside": {}, **options})

    first = [facts(load(options)) for options in variants]
    assert len(list(folder.glob("tokens-*"))) == len(variants) == len({json.dumps(each) for each in first})
    monkeypatch.setattr(tokenizers, "__version__", "0.0.1")  # another release may say something else
    assert [facts(load(options)) for options in variants] == first
    assert len(list(folder.glob("tokens-*"))) == 2 * len(variants)
    forbid(monkeypatch)
    assert [facts(load(options)) for options in variants] == first


def test_a_damaged_file_is_made_anew(train: Callable[[str, str], bytes], folder: pathlib.Path) -> None:
    data = train("WordLevel", "added")
    first = facts(load_vocabulary("huggingface", "x", data=data, beside={}))  # type: ignore[arg-type]
    (path,) = folder.glob("tokens-*")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"<plain>", b"<other>"))
    assert facts(load_vocabulary("huggingface", "x", data=data, beside={})) == first  # type: ignore[arg-type]
    assert path.read_bytes() == whole


def test_threads_that_ask_together_hear_the_same(train: Callable[[str, str], bytes]) -> None:
    data = train("byte-level BPE", "added")
    copy = pickle.loads(pickle.dumps(load_vocabulary("huggingface", "x", data=data, beside={})))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = list(pool.map(copy.piece, list(range(600)) * 4))
    assert names == [copy.piece(i) for i in range(600)] * 4


def test_small_files_are_not_kept(train: Callable[[str, str], bytes], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_facts, "_SMALL_BYTES", 1 << 18)
    data = train("WordPiece", "added")
    kept = facts(load_vocabulary("huggingface", "x", data=data, beside={}))  # type: ignore[arg-type]
    assert not list(folder.glob("tokens-*"))
    monkeypatch.setattr(token_facts, "_SMALL_BYTES", 0)
    assert facts(load_vocabulary("huggingface", "x", data=data, beside={})) == kept  # type: ignore[arg-type]
