"""Whatever the model and the text, the memo gives the ids of the library for the whole document."""

from __future__ import annotations

import itertools
import json
import pathlib
import random
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tokenreel
from tests.tokenreel.vocabularies.blocks import NASTY, block, nasty_documents, split
from tests.tokenreel.vocabularies.sentencepiece.models import UNESCAPED, with_pieces
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo.memo import UnitMemo, load

SETTINGS = list(itertools.product(("bpe", "unigram", "char", "word"), ("identity", "nfkc", "nmt_nfkc", "nmt_nfkc_cf"), (False, True)))


def memo_of(data: bytes, memo_bytes: int = 1 << 24) -> UnitMemo | None:
    return load(data, memo_bytes)


def encode(memo: UnitMemo, documents: list[str]) -> list[list[int]]:
    ids, lengths = memo.encode_block(*block(documents))
    assert ids.dtype == np.int32 and len(lengths) == len(documents)
    return split(ids, lengths)


def encode_with_spans(memo: UnitMemo, documents: list[str]) -> list[tuple[list[int], list[tuple[int, int]]] | None]:
    """Ids and spans of each document, None of those that are left to the library."""
    ids, lengths, begins, ends, right = memo.encode_with_spans(*block(documents))
    assert ids.dtype == begins.dtype == ends.dtype == np.int32 and len(right) == len(documents)
    pairs = (list(zip(*each, strict=True)) for each in zip(split(begins, lengths), split(ends, lengths), strict=True))
    found = zip(split(ids, lengths), pairs, right.tolist(), strict=True)
    return [(tokens, spans) if known else None for tokens, spans, known in found]


def assert_equal(data: bytes, documents: list[str], memo: UnitMemo | None = None) -> None:
    memo = memo or memo_of(data)
    assert memo is not None
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    for document, ids, found in zip(documents, encode(memo, documents), encode_with_spans(memo, documents), strict=True):
        told = library.encode(document, return_type="offset_mapping")
        assert ids == told["ids"], repr(document)
        assert found in (None, (told["ids"], told["offsets"])), repr(document)


@pytest.mark.parametrize(("kind", "normalizer", "byte_fallback"), SETTINGS)
def test_ids_are_the_librarys(train, texts, kind, normalizer, byte_fallback):
    data = train(kind, normalizer, byte_fallback)
    documents = [*NASTY, *(a + b for a in NASTY for b in NASTY), *nasty_documents(3000, 1), *texts[900:1000]]
    assert_equal(data, documents)


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
        {"treat_whitespace_as_suffix": True},
        {"user_defined_symbols": ["<sep>", "[REF_1]", "▁Red", "the▁cat", "é", "~~"]},
        {"split_by_whitespace": False},
        {"allow_whitespace_only_pieces": True, "remove_extra_whitespaces": False, "split_digits": True},
        {"split_by_unicode_script": False, "split_by_number": False},
        {"control_symbols": ["a", "<sep>"]},
        {"treat_whitespace_as_suffix": True, "remove_extra_whitespaces": False},
        {"treat_whitespace_as_suffix": True, "add_dummy_prefix": False, "user_defined_symbols": ["cat▁", "▁", "the"]},
        {"user_defined_symbols": ["th", "the", "he", "▁the▁", "▁▁", "日本", "e", "<0x0A>x", "ing "]},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("kind", "normalizer", "byte_fallback"),
    [("bpe", "identity", True), ("bpe", "nmt_nfkc", False), ("unigram", "nmt_nfkc", True), ("char", "nfkc", False)],
)
def test_ids_are_the_librarys_with_every_option(train, texts, kind, normalizer, byte_fallback, options):
    try:
        data = train(kind, normalizer, byte_fallback, **options)
    except RuntimeError:
        pytest.skip("the trainer refuses this combination")
    assert_equal(data, [*NASTY, *(a + b for a in NASTY for b in NASTY), *nasty_documents(3000, 2), *texts[900:950]])


@pytest.mark.parametrize(("kind", "normalizer", "byte_fallback"), SETTINGS)
def test_few_spans_are_left_to_the_library(train, texts, kind, normalizer, byte_fallback):
    memo = memo_of(train(kind, normalizer, byte_fallback))
    documents = [*texts[900:1000], "", "a  b", "é日x", "a" + 500 * " " + "b"]
    assert None not in encode_with_spans(memo, documents)
    documents = [text for text in nasty_documents(1000, 7) if "\u2581" not in text]
    assert encode_with_spans(memo, documents).count(None) < 0.01 * len(documents)


def test_spans_of_very_many_characters_are_left_to_the_library(train):
    data = train("bpe", "nmt_nfkc")
    documents = ["a" + size * "\x01" + "b" for size in (10, 500, 508, 509, 510, 511, 512, 1025, 5000)]  # the normaliser drops them
    found = encode_with_spans(memo_of(data), documents)
    assert found[0] and found[1] and found[-3:] == [None, None, None]
    assert_equal(data, documents)


def test_the_memo_is_used_where_it_can_be(train):
    assert memo_of(train("bpe", "nmt_nfkc")) and memo_of(train("bpe", "identity")) and memo_of(train("char", "nfkc"))
    assert memo_of(train("unigram", "nmt_nfkc")) and memo_of(train("unigram", "identity", False))
    assert memo_of(train("unigram", "nmt_nfkc", user_defined_symbols=["<sep>"])) and memo_of(train("word", "nmt_nfkc"))
    assert memo_of(train("bpe", "nmt_nfkc") + UNESCAPED) and memo_of(train("word", "nmt_nfkc") + UNESCAPED) is None
    assert memo_of(b"no model") is None


@pytest.mark.parametrize("options", [{}, {"user_defined_symbols": ["<sep>", "the▁cat", "é"]}], ids=str)
@pytest.mark.parametrize(("kind", "normalizer", "byte_fallback"), [each for each in SETTINGS if each[1] in ("identity", "nmt_nfkc_cf")])
def test_what_is_read_from_a_model_is_kept(train, texts, kind, normalizer, byte_fallback, options, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = train(kind, normalizer, byte_fallback, **options)
    built = memo_of(data)
    (path,) = (tmp_path / "tokenreel/arrays").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(sentencepiece_model, "parse", lambda _: pytest.fail("the model is read again"))
        mapped = memo_of(data)
        for before, after in ((built._cutter, mapped._cutter), (built._normalizer, mapped._normalizer), (built._model, mapped._model)):
            for one, other in zip(before, after, strict=True):
                assert np.asarray(one).dtype == np.asarray(other).dtype
                np.testing.assert_array_equal(one, other)
        assert_equal(data, [*NASTY, *nasty_documents(500, 3), *texts[900:950]], mapped)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_equal(data, NASTY, memo_of(data))
    assert path.read_bytes() != content, "a damaged file is made anew"


def test_what_is_kept_of_a_model_is_not_taken_for_another(train, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = train("bpe", "identity")
    others = [data, data + sentencepiece_model.MID_TEXT, data + UNESCAPED, train("bpe", "nfkc"), b"no model"]
    for _ in range(2):
        for each in others[:-1]:
            assert_equal(each, ["  two  words ", "ﬁve", "a▁b", ""], memo_of(each))
        assert memo_of(others[-1]) is None
    assert len(list((tmp_path / "tokenreel/arrays").iterdir())) == len(others)


def test_without_numba_the_library_encodes_whole_documents(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert memo_of(train()) is None


def test_nothing_can_be_kept_on_disk(train, texts, tmp_path):
    """Installed where nothing can be written, in an account without a home: the loops are compiled for the process alone."""
    package = tmp_path / "tokenreel"
    shutil.copytree(pathlib.Path(tokenreel.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "model").write_bytes(train("unigram"))
    program = (
        "import os, numba.core.caching as caching\n"
        "os.environ['NUMBA_CACHE_DIR'] = ''\n"
        "for kind in vars(caching).values():\n"
        "    if isinstance(kind, type) and hasattr(kind, 'ensure_cache_path'):\n"
        "        kind.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError('read-only'))\n"
        "import numpy as np\n"
        "from tokenreel.vocabularies.unit_memo import memo\n"
        "text = np.frombuffer(b'some text', dtype=np.uint8)\n"
        "print(memo.load(open('model', 'rb').read(), 1 << 20).encode_block(text, np.array([0, 9]))[0].tolist())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "model"))
    assert json.loads(result.stdout) == library.encode("some text")
    assert not list(package.rglob("*.nb?"))


@pytest.mark.parametrize("normalizer", ["identity", "nmt_nfkc"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_any_text(train, kind, normalizer):
    data = train(kind, normalizer)
    memo = memo_of(data)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.one_of(st.text(), st.lists(st.sampled_from(NASTY)).map("".join)), max_size=6))
    def check(documents):
        assert_equal(data, documents, memo)

    check()


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_unigram_sums_are_rounded_as_the_library_rounds(train, texts, byte_fallback):
    """Texts of any length, in which many segmentations are equally good, and some that begin anew from a sum of -100,000."""
    data = train("unigram", "nmt_nfkc", byte_fallback)
    chooser = random.Random(3)
    ties = [
        "?" * 7,
        "xXxxX",
        "....",
        "-=-=-=",
        "a" * 9,
        "ppp",
        "(((",
        "\u00e9\u00e9",
        "\u4e2d\u4e2d\u4e2d",
        "\U0001f600\U0001f600",
        "1111111",
    ]
    documents = []
    for size in (3, 30, 300, 3_000, 30_000):
        for _ in range(3 if size > 1000 else 60):
            words = chooser.choices([*ties, *NASTY, *" ".join(texts[:50]).split()], k=size)
            documents.append("".join(word + chooser.choice(["", " "]) for word in words))
    documents += [" ".join(ties * 9_000), "?" * 200_000, "ﷺ" * 50_000, "x" * 150_000 + " ??" * 20_000]
    assert_equal(data, documents)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_ids_do_not_depend_on_what_the_memo_holds(train, texts, kind):
    """Emptied all the time, in slices of any size, in any order: the same ids."""
    data = train(kind, "nmt_nfkc")
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    expected = {text: library.encode(text) for text in texts}
    for memo_bytes in (100_000, 200_000, 1 << 24):
        memo = memo_of(data, memo_bytes)
        documents = random.Random(memo_bytes).sample(texts, k=len(texts))
        for start in range(0, len(documents), 150):
            part = documents[start : start + 150]
            assert encode(memo, part) == [expected[text] for text in part]
            assert memo.nbytes <= memo_bytes


def test_what_was_seen_is_not_encoded_again(train, texts):
    memo = memo_of(train("bpe", "nmt_nfkc"))
    encode(memo, texts)
    before = memo.encoded_units
    assert 0 < before < 0.1 * sum(len(text.encode()) for text in texts)
    encode(memo, texts[::-1])
    assert memo.encoded_units == before


def test_text_without_repetition_gives_the_ids_of_the_library(train):
    """Random letters, most of the time looked up in no table, some of the time in one."""
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
    noise = np.random.default_rng(0).choice(letters, size=(100, 20_000))
    assert_equal(train("bpe", "nmt_nfkc"), [row.tobytes().decode() for row in noise])


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("memo_bytes", [400_000, 1 << 24])
def test_threads_share_a_memo(train, texts, kind, memo_bytes):
    data = train(kind, "nmt_nfkc")
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    expected = [library.encode(text) for text in texts]
    memo, failures = memo_of(data, memo_bytes), []

    def work(seed):
        chooser = random.Random(seed)
        for _ in range(20):
            picked = chooser.sample(range(len(texts)), k=80)
            if encode(memo, [texts[i] for i in picked]) != [expected[i] for i in picked]:
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.slow
def test_the_memo_is_bounded_on_ten_million_distinct_units(train):
    import resource

    memo_bytes = 64 << 20
    memo = memo_of(train("bpe", "nmt_nfkc"), memo_bytes)
    encode(memo, ["warm up"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 10_000_000, 200_000):
        encode(memo, [" ".join(map(str, range(i, i + 1000))) for i in range(start, start + 200_000, 1000)])
        assert memo.nbytes <= memo_bytes
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 3 * memo_bytes


def of_types(kinds):
    """Makes every seventh piece one of these types in turn; gives a function for `with_pieces`."""

    def change(pieces):
        turn = itertools.cycle(kinds)
        normal = [i for i, (name, _, kind) in enumerate(pieces) if kind == sentencepiece_model.NORMAL and name != b"a"]
        chosen = {i: next(turn) for i in normal[::7]}
        return [(name, score, chosen.get(i, kind)) for i, (name, score, kind) in enumerate(pieces)]

    return change


def without(*names):
    return lambda pieces: [piece for piece in pieces if piece[0].decode() not in names]


def with_spaces(pieces):
    """Raw spaces in pieces and symbols, which no escaped text has."""
    kind = sentencepiece_model.USER_DEFINED
    return [*pieces, (b"the cat", -1.0, sentencepiece_model.NORMAL), (b"a b", 0.0, kind), (b" x", 0.0, kind), (b"y ", 0.0, kind)]


CHANGES = {
    "unused": of_types([sentencepiece_model.UNUSED]),
    "user-defined": of_types([sentencepiece_model.USER_DEFINED]),
    "both": of_types([sentencepiece_model.UNUSED, sentencepiece_model.USER_DEFINED]),
    "no space": without("▁"),
    "no characters": without("▁", "t", "h", "e", "."),
    "raw spaces": with_spaces,
    "equal scores": lambda pieces: [(name, float(round(score / 50) * 50), kind) for name, score, kind in pieces],
}


@pytest.mark.parametrize("changed", CHANGES)
@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("kind", ["bpe", "unigram", "char", "word"])
def test_models_that_no_trainer_makes(train, texts, kind, byte_fallback, changed):
    base = with_pieces(train(kind, "nmt_nfkc", byte_fallback), CHANGES[changed])
    hostile = [*NASTY, *nasty_documents(1500, 4), *texts[900:930], "xa by a b  x", "thethe thecat", "a b", "y  y x"]
    symbols = [piece.decode().replace("▁", chooser) for piece in sentencepiece_model.parse(base).of_type(4) for chooser in "▁ "][:60]
    chooser = random.Random(5)
    hostile += ["".join(chooser.choices([*symbols, *NASTY, "the", " "], k=chooser.randrange(1, 9))) for _ in range(1500)]
    for extra in (b"", UNESCAPED):
        for changes in (b"", sentencepiece_model.MID_TEXT):
            if not (extra and kind == "word"):
                assert_equal(base + extra + changes, hostile)
