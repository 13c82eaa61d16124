from __future__ import annotations

import concurrent.futures
import itertools
import json
import random

import pytest
import tokenizers

from tests.converted_models import PREPEND, REPLACE, to_tokenizer_json
from tests.hostile_texts import hostile_texts
from tests.nasty_texts import NASTY
from tests.tokenreel.vocabularies.blocks import block, nasty_documents
from tests.tokenreel.vocabularies.blocks import split as split_ids
from tokenreel.vocabularies import fast_path
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.metaspace_path import MetaspacePath
from tokenreel.vocabularies.pre_tokenizers import merge_cuts
from tokenreel.vocabularies.pre_tokenizers.automata import cut
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised


def metaspace(scheme="always", *, split=True, **settings):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split, **settings}


def sequence(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


NO_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}  # Gemma's, which finds none
STEPS = {
    "llama": (sequence(PREPEND, REPLACE), None),
    "gemma": (REPLACE, NO_SPACES),
    "nfkc": (sequence({"type": "NFKC"}, REPLACE, PREPEND), None),
    "words": (None, metaspace()),
    "first": (None, metaspace("first")),
    "never": ({"type": "NFC"}, metaspace("never")),
    "legacy": (sequence(REPLACE), {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}),
    "whole": (None, metaspace(split=False)),
    "whole_first": (None, metaspace("first", split=False)),
    "whole_never": (None, {"type": "Sequence", "pretokenizers": [metaspace("never", split=False)]}),
}
MODELS = {
    "bytes": {"byte_fallback": True, "fuse_unk": True},
    "fused": {"byte_fallback": False, "fuse_unk": True},
    "apart": {"byte_fallback": False, "fuse_unk": False},
}


def token(content, **settings):
    return {"content": content, **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False), **settings}


ADDED = [
    token("<s>", special=True),
    token("</s>", special=True, normalized=True),
    token("<sep>", normalized=True),
    token("\n\n"),
    token("▁▁▁"),
    token("a b", normalized=True),
    token("word", single_word=True),
    token("<left>", lstrip=True),
]
NAMES = ("<s>", "</s>", "<sep>", "<unk>", "▁▁▁", " a b", "a▁b", "a word b", "words", "x <left>", "<0x0A>", "\n\n\n")
DOCUMENTS = ["", " ", "▁", "\n", "ab" * 5000, "a" * 700, " " * 600 + "x", "日本" * 400, "\u0301" * 400, "\U0010ffff" * 300, "a▁ b", *NASTY]
DOCUMENTS += [*hostile_texts(250, seed=1, names=NAMES), *nasty_documents(200, seed=2)]


def both(content, tmp_path, memo_bytes=1 << 24, **options):
    """The vocabulary that takes the path, and the one that the library encodes."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    fast, slow = (load_vocabulary("huggingface", str(path), memo_bytes=size, **options) for size in (memo_bytes, 0))
    assert isinstance(fast.fast_path, MetaspacePath), fast.fast_path
    return fast, slow


def compare(fast, slow, documents):
    """Compares ids, and spans, twice: the second time units are known."""
    texts = block(documents)
    expected = slow.encode_block_with_offsets(*texts)
    for _ in range(2):
        found = fast.encode_block_with_offsets(*texts)
        for name, which in (("ids", 0), ("begins", 2), ("ends", 3)):
            assert found[which].dtype == expected[which].dtype
            every = split_ids(found[which], found[1]), split_ids(expected[which], expected[1])
            for document, a, b in zip(documents, *every, strict=True):
                assert a == b, (name, document)
        every = split_ids(*fast.encode_block(*texts)), split_ids(*slow.encode_block(*texts))
        for document, a, b in zip(documents, *every, strict=True):
            assert a == b, document


@pytest.fixture(scope="module", params=MODELS)
def model(request, texts):
    """The `model` of a `tokenizer.json`, trained on words."""
    settings = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "ignore_merges": False, **MODELS[request.param]}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *([f"<0x{byte:02X}>" for byte in range(256)] if settings["byte_fallback"] else [])]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=2000, limit_alphabet=400, special_tokens=special, show_progress=False)
    others = [text for text in nasty_documents(500, seed=3) if "<unk>" not in text and "<0x" not in text]  # else merges have these names
    tokenizer.train_from_iterator([*texts[:300], *others], trainer)
    return {**json.loads(tokenizer.to_str())["model"], **settings}


def tokenizer_json(model, normalizer, pre_tokenizer, added=()):
    ids = model["vocab"]
    added = [{"id": ids.get(each["content"], len(ids) + number), **each} for number, each in enumerate(added)]
    return {"version": "1.0", "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": model}


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("steps", STEPS)
def test_ids_and_spans_are_those_of_the_library(model, texts, tmp_path, steps, special_tokens):
    content = tokenizer_json(model, *STEPS[steps], added=ADDED)
    fast, slow = both(content, tmp_path, special_tokens=special_tokens, eos_id="</s>")
    compare(fast, slow, [*DOCUMENTS, *texts[::16]])


@pytest.mark.parametrize("steps", ["llama", "gemma", "words", "whole_first"])
def test_without_added_tokens(model, tmp_path, steps):
    fast, slow = both(tokenizer_json(model, *STEPS[steps]), tmp_path)
    compare(fast, slow, DOCUMENTS)
    compare(fast, slow, ["", ""])


@pytest.mark.parametrize("steps", ["words", "first", "never"])
def test_pieces_that_are_taken_whole(model, texts, tmp_path, steps):
    merges = model["merges"][::2]  # half of the pieces are no longer made by merges
    fast, slow = both(tokenizer_json({**model, "merges": merges, "ignore_merges": True}, *STEPS[steps], added=ADDED[:2]), tmp_path)
    compare(fast, slow, [*DOCUMENTS, *texts[::16]])


LETTERS = [*"▁abé日😀"]
SPELLED = [*" ▁abé日😀", *"zß本\n𝄞\0", "  ", "ab", " a", "日日", "<unk>", "<0x41>"]


def by_chance(random_, settings):
    """A model whose merges no training would make: pieces with spaces inside, merges in any order, pairs that come twice."""
    pieces = [*random_.sample(LETTERS[1:], random_.randint(1, 5)), "▁"]
    made = set(pieces)
    merges = []
    for _ in range(random_.randint(0, 40)):
        left, right = random_.choice(pieces), random_.choice(pieces)
        if len(left + right) < 7:
            merges.append([left, right])
            if left + right not in made:
                made.add(left + right)
                pieces.append(left + right)
    random_.shuffle(merges)
    merges += random_.sample(merges, len(merges) // 8)
    names = ["<unk>", *([f"<0x{byte:02X}>" for byte in range(256)] if settings["byte_fallback"] else []), *pieces]
    random_.shuffle(names)
    return {"type": "BPE", "unk_token": "<unk>", "vocab": {name: i for i, name in enumerate(names)}, "merges": merges, **settings}


@pytest.mark.parametrize("settings", MODELS)
def test_models_by_chance(tmp_path, settings):
    random_ = random.Random(5)
    for _ in range(20):
        steps = random_.choice(list(STEPS.values()))
        whole = random_.random() < 0.3 and bool(steps[1]) and steps[1].get("split", True) and steps[1]["type"] == "Metaspace"
        content = tokenizer_json(by_chance(random_, {**MODELS[settings], "ignore_merges": whole}), *steps)
        fast, slow = both(content, tmp_path)
        documents = ["".join(random_.choices(SPELLED, k=random_.choice([1, 3, 6, 12, 120]))) for _ in range(150)]
        compare(fast, slow, ["", *documents])


@pytest.mark.parametrize("special_tokens", [False, True])
def test_spans_of_an_added_token_that_is_the_piece_of_a_byte(tmp_path, special_tokens):
    """A name has five bytes more than the byte, the unknown token four, and `▁` two more than its piece: all together come out even."""
    model = {**PLAIN, "vocab": PLAIN["vocab"] | BYTES, "byte_fallback": True}
    content = tokenizer_json(model, *STEPS["gemma"], added=[token("<0x0A>", normalized=True), token("<0x0B>", special=True)])
    fast, slow = both(content, tmp_path, special_tokens=special_tokens)
    compare(fast, slow, ["a\n<0x0A>a", "\n\n▁▁▁▁▁", "\n▁<0x0A>\n▁▁▁▁a", "\v\v▁▁▁▁▁<0x0B>", "\v▁▁", "\n a"])


def test_a_converted_model(train, texts, tmp_path):
    content = to_tokenizer_json(train("bpe", normalizer="identity"))
    fast, slow = both(content, tmp_path)
    compare(fast, slow, [*DOCUMENTS, *texts[::16]])


@pytest.mark.parametrize("steps", ["llama", "words"])
def test_a_text_of_a_megabyte_without_a_cut(model, tmp_path, steps):
    fast, slow = both(tokenizer_json(model, *STEPS[steps]), tmp_path)
    compare(fast, slow, ["th" * (1 << 17) + "a", "日本語" * (1 << 15), " " * (1 << 17), "\U0010ffff" * (1 << 14)])


def test_documents_longer_than_the_kernels_count_are_left_to_the_library(model, tmp_path, monkeypatch):
    monkeypatch.setattr(fast_path, "MOST_BYTES", 40)
    fast, slow = both(tokenizer_json(model, *STEPS["llama"]), tmp_path)
    assert fast.encode_block(*block(["ab" * 30, "short"]))[0].tolist() == slow.encode_block(*block(["ab" * 30, "short"]))[0].tolist()


@pytest.mark.parametrize("memo_bytes", [1, 100_000])
def test_a_memo_that_is_full_begins_afresh(model, tmp_path, memo_bytes):
    fast, slow = both(tokenizer_json(model, *STEPS["llama"]), tmp_path, memo_bytes=memo_bytes)
    compare(fast, slow, DOCUMENTS)


def test_threads_share_a_path(model, tmp_path):
    fast, _ = both(tokenizer_json(model, *STEPS["llama"], added=ADDED), tmp_path, eos_id="</s>")
    blocks = [block(hostile_texts(200, seed=seed, names=NAMES)) for seed in range(8)]
    expected = [fast.encode_block(*each)[0].tolist() for each in blocks]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert [ids.tolist() for ids, _ in pool.map(lambda each: fast.encode_block(*each), blocks)] == expected


PLAIN = {"type": "BPE", "unk_token": "<unk>", "vocab": {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3, "<unk>a": 4}, "merges": [["▁", "a"]]}
BYTES = {f"<0x{byte:02X}>": 5 + byte for byte in range(256)}


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"unk_token": None}, "no token for characters"),
        ({"unk_token": "<gone>"}, "no token for characters"),
        ({"byte_fallback": True}, "bytes have no piece"),
        ({"merges": [["<unk>", "a"]]}, "a merge of <unk>"),
        ({"byte_fallback": True, "vocab": PLAIN["vocab"] | BYTES | {"<0x41>a": 300}, "merges": [["<0x41>", "a"]]}, "a merge of <0x41>"),
        ({"vocab": {"<unk>": 0, "a": 1}, "merges": []}, "no piece ▁"),
        ({"vocab": {"<unk>": 0, "▁": 1, "a": 1}, "merges": []}, "one id"),
        ({"ignore_merges": True}, "not split into words"),
        ({"end_of_word_suffix": "</w>", "merges": []}, "end_of_word_suffix"),
    ],
)
def test_models_that_are_left_to_the_library(tmp_path, change, about):
    refused(tmp_path, tokenizer_json({**PLAIN, **change}, *STEPS["llama"]), about)


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "about"),
    [
        (sequence({"type": "Lowercase"}, REPLACE), None, "the normaliser Lowercase"),
        (sequence(REPLACE, {"type": "NFC"}), None, "the normaliser NFC"),
        (sequence(PREPEND, PREPEND, REPLACE), None, "several"),
        (sequence({**PREPEND, "prepend": "x"}, REPLACE), None, "the normaliser Prepend"),
        (sequence(PREPEND), metaspace(), "behind Prepend"),
        (REPLACE, {"type": "Whitespace"}, "the pre-tokenizer Whitespace"),
        (None, metaspace(replacement="_"), "the pre-tokenizer Metaspace"),
        (None, {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, metaspace()]}, "Whitespace, Metaspace"),
        (None, None, "no pre-tokenizer"),
        (None, NO_SPACES, "Split with the behavior"),
    ],
)
def test_steps_that_are_left_to_the_library(tmp_path, normalizer, pre_tokenizer, about):
    refused(tmp_path, tokenizer_json(PLAIN, normalizer, pre_tokenizer), about)


def refused(tmp_path, content, about):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    vocabulary = load_vocabulary("huggingface", str(path))
    assert isinstance(vocabulary.fast_path, NotRecognised) and about in vocabulary.describe_speed()


def units(cutter, text):
    ends = cut(cutter.automaton, cutter.classes[[ord(character) for character in text]].tolist())
    return [text[begin:end] for begin, end in itertools.pairwise([0, *ends])]


def test_cuts_are_as_fine_as_merges_allow():
    pairs = [("xa", "bx"), (" ", "a"), (".", " "), ("日", "本")]
    assert units(merge_cuts.for_merges(pairs, splits=False), " ab b. .日本本") == [" ab", " b", ". ", ".", "日本", "本"]
    assert units(merge_cuts.for_merges(pairs, splits=True), " ab b. .日本本") == [" ab", " b", ".", " ", ".", "日本", "本"]
    assert units(merge_cuts.for_merges(pairs, splits=False, known="ab. 日本x"), "?!ax?") == ["?!", "a", "x", "?"]
    assert units(merge_cuts.cut_at_spaces(), "a.b  c ") == ["a.b", " ", " c", " "]


def test_special_tokens_whose_names_are_normalised(tmp_path):
    added = [token("<s>", special=True, normalized=True), token("</s>", special=True, normalized=True)]
    model = {**PLAIN, "vocab": {**PLAIN["vocab"], "<s>": 5, "</s>": 6}, "unk_token": "<unk>"}
    fast, slow = both(tokenizer_json(model, *STEPS["llama"], added=added), tmp_path)
    assert (fast.bos_id, fast.eos_id, fast.piece(6)) == (5, 6, "</s>")
    compare(fast, slow, ["</s>", "a</s> </s>", "a"])
    assert not {5, 6} & set(fast.encode_block(*block(["</s>", "<s> </s>"]))[0].tolist())


def test_many_characters_are_put_into_classes():
    characters = [chr(0x4E00 + i) for i in range(3000)]
    pairs = list(itertools.pairwise(characters))
    cutter = merge_cuts.for_merges([*pairs, ("é", "a"), ("«", "a")], splits=True)
    assert cutter.classes.max() <= 250
    numbers = cutter.classes[[ord(character) for character in "一丁é«» a"]].tolist()
    assert numbers[4] == 0 and len(set(numbers[2:])) == 5
    assert all(units(cutter, left + right) == [left + right] for left, right in pairs)
