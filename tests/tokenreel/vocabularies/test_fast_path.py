from __future__ import annotations

import concurrent.futures
import itertools
import json
import pickle

import numpy as np
import pytest
import tokenizers

from tests.hostile_texts import CL100K, PRE_TOKENIZERS, byte_level, hostile_texts, split, steps
from tests.tokenreel.vocabularies.blocks import block
from tests.tokenreel.vocabularies.blocks import split as split_ids
from tokenreel import keys
from tokenreel.vocabularies import fast_path, kept_arrays
from tokenreel.vocabularies.fast_path import FastPath
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.pre_tokenizers import code_point_data
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised


def token(content, **settings):
    return {"content": content, **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False), **settings}


ADDED = [
    token("<|endoftext|>", special=True),
    token("<tool>"),
    token("<tool>x"),
    token("  ", normalized=True),
    token("    ", normalized=True),
    token("Å", normalized=True),
    token("<mask>", lstrip=True, normalized=True),
    token("<|end|>", special=True, normalized=True),
    token("word", single_word=True),
]
NAMES = (*(each["content"] for each in ADDED), "A\u030a", "<|endoftext|><tool>", "<tool>xx", " <mask>", "wordy", "a word b")


@pytest.fixture(scope="module")
def model(texts):
    """A byte-level model whose merges know no bounds of words, so that a wrong cut shows."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]{12}"), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*texts[:100], *hostile_texts(1500, seed=11)], trainer)
    return json.loads(tokenizer.to_str())["model"]


def tokenizer_json(model, pre_tokenizer, *, added=(), normalizer=None, **settings):
    """A `tokenizer.json` of a trained model."""
    first = len(model["vocab"])
    added = [{"id": first + i, **each} for i, each in enumerate(added)]
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer}
    tail = {"post_processor": None, "decoder": None, "model": {**model, **settings}}
    return json.dumps({**head, "pre_tokenizer": pre_tokenizer, **tail}).encode()


def path_of(data, library, memo_bytes):
    fingerprint = keys.digest(data, int(library.encode_special_tokens))
    return FastPath(fingerprint, lambda: (json.loads(data), library), memo_bytes)


def compare(data, documents, *, special_tokens=False, memo_bytes=1 << 24):
    """Encodes documents by the fast path, which must give the library's ids; says how many the library was left with."""
    library = tokenizers.Tokenizer.from_buffer(data)
    library.encode_special_tokens = not special_tokens
    expected = [encoding.ids for encoding in library.encode_batch(documents, add_special_tokens=False)]
    left = []

    def by_library(text, offsets):
        texts = [bytes(text[a:b]).decode() for a, b in itertools.pairwise(offsets)]
        found = [library.encode(each, add_special_tokens=False).ids for each in texts]
        left.extend(found)
        return np.concatenate([np.zeros(0, np.int32), *(np.array(ids, dtype=np.int32) for ids in found)]), np.array(list(map(len, found)))

    fast = path_of(data, library, memo_bytes)
    for _ in range(2):  # cold and warm
        ids, lengths = fast.encode_block(*block(documents), by_library)
        assert ids.dtype == np.int32
        for document, found, wanted in zip(documents, split_ids(ids, lengths), expected, strict=True):
            assert found == wanted, document
    return len(left) // 2


DOCUMENTS = ["", " ", "\n", "a" * 700, " " * 600 + "x", "\u0301" * 400, "ab" * 5000, *hostile_texts(500, seed=1), ""]


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_ids_are_those_of_the_library(model, name):
    assert compare(tokenizer_json(model, PRE_TOKENIZERS[name]), DOCUMENTS) == 0
    assert compare(tokenizer_json(model, PRE_TOKENIZERS[name]), ["", ""]) == 0


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}])
@pytest.mark.parametrize("name", ["cl100k", "roberta", "deepseek"])
def test_added_tokens_and_normal_forms(model, name, normalizer, special_tokens):
    data = tokenizer_json(model, PRE_TOKENIZERS[name], added=ADDED, normalizer=normalizer)
    left = compare(data, [*DOCUMENTS, *hostile_texts(400, seed=2, names=NAMES)], special_tokens=special_tokens)
    assert 5 < left < 80  # those with a token that takes spaces with it or is a word of its own


def test_pieces_that_are_taken_whole(model):
    """`ignore_merges`, of Llama 3: pieces that no merge makes are found all the same."""
    model = {**model, "vocab": {**model["vocab"], "zyzzyva": len(model["vocab"]), "Ġzyzzyva-long-piece": len(model["vocab"]) + 1}}
    documents = ["zyzzyva", " zyzzyva-long-piece", "zyzzyvas", *DOCUMENTS]
    for pre_tokenizer in (PRE_TOKENIZERS["cl100k"], steps(split(r"[\s\S]{1,30}"), byte_level())):
        for ignore_merges in (False, True):
            assert compare(tokenizer_json(model, pre_tokenizer, ignore_merges=ignore_merges), documents) == 0


def test_a_text_of_a_megabyte_without_a_cut(model):
    for text in ("ab" * (1 << 19), "x" * (1 << 20), "日本語の" * (1 << 17)):
        assert compare(tokenizer_json(model, PRE_TOKENIZERS["gpt2"]), [text]) == 0


def test_documents_longer_than_the_kernels_count_are_left_to_the_library(model, monkeypatch):
    monkeypatch.setattr(fast_path, "MOST_BYTES", 40)
    data = tokenizer_json(model, next(iter(PRE_TOKENIZERS.values())))
    assert compare(data, ["ab" * 20, "short"]) == 0
    assert compare(data, ["ab" * 20 + "c", "short"]) == 2


def test_a_memo_that_is_full_begins_afresh(model):
    data = tokenizer_json(model, PRE_TOKENIZERS["cl100k"], ignore_merges=True)
    assert compare(data, [*DOCUMENTS, *hostile_texts(3000, seed=4)], memo_bytes=1) == 0


def test_threads_share_a_path(model):
    data = tokenizer_json(model, PRE_TOKENIZERS["o200k"])
    library = tokenizers.Tokenizer.from_buffer(data)
    fast = path_of(data, library, 1 << 22)
    blocks = [block(hostile_texts(300, seed=seed)) for seed in range(8)]
    alone = [fast.encode_block(*each, None)[0].tolist() for each in blocks]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert [ids.tolist() for ids, _ in pool.map(lambda each: fast.encode_block(*each, None), blocks)] == alone


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKC"}]}}, "several"),
        ({"type": "WordPiece"}, "WordPiece"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
        ({"vocab": {"a": 0}}, "no piece"),
    ],
)
def test_what_is_not_recognised_is_left_to_the_library(model, change, about):
    content = json.loads(tokenizer_json(model, PRE_TOKENIZERS["gpt2"]))
    library = tokenizers.Tokenizer.from_str(json.dumps(content))
    content |= {name: value for name, value in change.items() if name in content}
    content["model"] |= {name: value for name, value in change.items() if name not in content}
    with pytest.raises(NotRecognised) as error:
        path_of(json.dumps(content).encode(), library, 1 << 20)
    assert about in str(error.value)


def test_another_version_of_the_library_has_its_own_tables(model, monkeypatch):
    data = tokenizer_json(model, PRE_TOKENIZERS["gpt2"])
    monkeypatch.setattr(code_point_data, "LIBRARY_VERSION", "0.0.1")
    with pytest.raises(NotRecognised, match="Unicode tables"):
        path_of(data, tokenizers.Tokenizer.from_buffer(data), 1 << 20)


def test_a_vocabulary_takes_the_path_and_says_so(model, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(tokenizer_json(model, PRE_TOKENIZERS["cl100k"], added=ADDED))
    vocabulary = load_vocabulary("huggingface", str(path))
    assert "own loops" in vocabulary.describe_speed()
    slow = load_vocabulary("huggingface", str(path), memo_bytes=0)
    assert "memo_bytes is 0" in slow.describe_speed() and slow.fingerprint == vocabulary.fingerprint
    texts = block(hostile_texts(500, seed=6, names=NAMES))
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy.fast_path is vocabulary.fast_path
    for each in (vocabulary, copy):
        for a, b in zip(each.encode_block(*texts), slow.encode_block(*texts), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}])
def test_kept_arrays_are_those_that_are_built(model, normalizer, monkeypatch, tmp_path):
    """A second process reads neither the file nor the library, and encodes and finds spans as the first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = tokenizer_json(model, PRE_TOKENIZERS["deepseek"], added=ADDED, normalizer=normalizer, ignore_merges=True)
    library = tokenizers.Tokenizer.from_buffer(data)
    arrays, about = fast_path.lay_out(json.loads(data), library)
    texts = block(hostile_texts(300, seed=8))
    spans = []
    for read in (lambda: (json.loads(data), library), lambda: pytest.fail("read again")):
        fast = FastPath("ab", read, 1 << 20)
        encoded = fast.encode_block(*texts, lambda text, offsets: (np.zeros(0, np.int32), np.zeros(len(offsets) - 1, np.int64)))
        spans.append([*encoded, *fast.find_spans(*texts, *encoded)])
    for a, b in zip(*spans, strict=True):
        assert np.array_equal(a, b)
    kept = kept_arrays.get("tokenizer-json", "ab", lambda: pytest.fail("built again"))
    assert kept.about == about and kept.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert kept.arrays[name].dtype == array.dtype and np.array_equal(kept.arrays[name], array), name


def test_why_a_tokenizer_is_not_recognised_is_kept(model):
    data = tokenizer_json(model, PRE_TOKENIZERS["gpt2"], normalizer={"type": "Lowercase"})
    for read in (lambda: (json.loads(data), None), lambda: pytest.fail("read again")):
        with pytest.raises(NotRecognised, match="Lowercase"):
            FastPath("cd", read, 1 << 20)


def test_names_of_special_tokens_that_the_model_makes_stay_text(model, tmp_path):
    """Merges or whole pieces may spell a special token; its id never comes of a text."""
    vocab = {**model["vocab"], "<|end|>": len(model["vocab"])}
    data = json.loads(tokenizer_json({**model, "vocab": vocab}, steps(split(r"[\s\S]{1,7}"), byte_level()), ignore_merges=True))
    data["added_tokens"] = [{"id": vocab["<|end|>"], **token("<|end|>", special=True)}]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    fast, slow = (load_vocabulary("huggingface", str(path), memo_bytes=size) for size in (1 << 20, 0))
    assert isinstance(fast.fast_path, FastPath)
    texts = block(["<|end|>", "abcdefg<|end|>", "x<|end|>", *hostile_texts(200, seed=7, names=("<|end|>",))])
    for a, b in zip(fast.encode_block(*texts), slow.encode_block(*texts), strict=True):
        assert np.array_equal(a, b)
    assert vocab["<|end|>"] not in fast.encode_block(*texts)[0]


def test_without_numba_the_library_encodes(model, monkeypatch):
    data = tokenizer_json(model, steps(split(CL100K), byte_level()))
    monkeypatch.setattr(fast_path.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotRecognised, match="Numba"):
        path_of(data, tokenizers.Tokenizer.from_buffer(data), 1 << 20)


@pytest.mark.parametrize("sides", [("lstrip",), ("rstrip",), ("lstrip", "rstrip")])
def test_spans_of_tokens_that_take_spaces_with_them(model, tmp_path, sides):
    """Where one stands for more bytes than it has, and a space is put before the text, the numbers of bytes may still agree."""
    pair = token("  ", **dict.fromkeys(sides, True))
    documents = ["a    b", "a      b", "    ", "a  b", "ab \u3000   x", "a ab", *hostile_texts(200, seed=9, names=("  ", "   "))]
    for name in ("cl100k", "roberta"):
        path = tmp_path / "tokenizer.json"
        path.write_bytes(tokenizer_json(model, PRE_TOKENIZERS[name], added=[pair, token("ab", lstrip=True)]))
        fast, slow = (load_vocabulary("huggingface", str(path), memo_bytes=size) for size in (1 << 20, 0))
        for a, b in zip(*(each.encode_block_with_offsets(*block(documents)) for each in (fast, slow)), strict=True):
            assert np.array_equal(a, b)


BYTE_LEVEL = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    "post_processor",
    [
        None,
        {**BYTE_LEVEL, "add_prefix_space": False},
        {**BYTE_LEVEL, "add_prefix_space": True},
        {"type": "Sequence", "processors": [{**BYTE_LEVEL, "add_prefix_space": True, "trim_offsets": False}]},
        {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2], "trim_offsets": True, "add_prefix_space": True},
        {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2], "trim_offsets": True, "add_prefix_space": False},
        {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2], "trim_offsets": False, "add_prefix_space": True},
        {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]},
        {"type": "Sequence", "processors": [{**BYTE_LEVEL, "add_prefix_space": True}] * 2},
    ],
)
@pytest.mark.parametrize("name", ["gpt2", "o200k", "roberta", "bloom_removed"])
def test_spans_are_those_of_the_library(model, tmp_path, name, post_processor):
    content = json.loads(tokenizer_json(model, PRE_TOKENIZERS[name], added=ADDED, normalizer={"type": "NFC"} if name == "o200k" else None))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content | {"post_processor": post_processor}))
    fast, slow = (load_vocabulary("huggingface", str(path), memo_bytes=size) for size in (1 << 20, 0))
    texts = block([*DOCUMENTS, *hostile_texts(300, seed=8, names=NAMES)])
    for a, b in zip(fast.encode_block_with_offsets(*texts), slow.encode_block_with_offsets(*texts), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    ids, lengths = fast.encode_block(*texts)
    explained = fast.fast_path.find_spans(*texts, ids, lengths)[2]
    twice = post_processor is not None and len(post_processor.get("processors", ())) > 1
    assert explained.any() != twice
