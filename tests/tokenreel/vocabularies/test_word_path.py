from __future__ import annotations

import base64
import concurrent.futures
import itertools
import json

import hypothesis
import numpy as np
import pytest
import tokenizers
from hypothesis import strategies as st

from tests.hostile_texts import hostile_texts
from tests.nasty_texts import NASTY
from tests.tokenreel.vocabularies.blocks import block, nasty_documents
from tests.tokenreel.vocabularies.blocks import split as split_ids
from tokenreel.format import wire
from tokenreel.vocabularies import huggingface, word_path
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.word_path import WordPath


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def bert(**settings):
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
        **settings,
    }


BERT = {"type": "BertPreTokenizer"}
PUNCTUATION, DIGITS = {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True}
STEPS = {
    "uncased": (bert(), BERT),
    "cased": (bert(lowercase=False), BERT),
    "accents": (bert(strip_accents=False), BERT),
    "stripped": (bert(strip_accents=True, lowercase=False, handle_chinese_chars=False), BERT),
    "unclean": (bert(clean_text=False), BERT),
    "trained": (sequence("normalizers", {"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}), {"type": "Whitespace"}),
    "composed": ({"type": "NFKC"}, sequence("pretokenizers", {"type": "Whitespace"}, PUNCTUATION)),
    "nothing": (None, {"type": "WhitespaceSplit"}),
    "digits": (sequence("normalizers", {"type": "NFKD"}, {"type": "Nmt"}), sequence("pretokenizers", {"type": "Whitespace"}, DIGITS)),
    "runs": (
        {"type": "Strip", "strip_left": True, "strip_right": True},
        sequence(
            "pretokenizers", {"type": "WhitespaceSplit"}, {**PUNCTUATION, "behavior": "Contiguous"}, {**DIGITS, "individual_digits": False}
        ),
    ),
}


def token(content, **settings):
    return {"content": content, **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False), **settings}


ADDED = [
    token("[CLS]", special=True),
    token("[unused0]"),
    token("[unused0]x"),
    token("  "),
    token("word", single_word=True),
    token("<left>", lstrip=True),
]
NAMES = ("[CLS]", "[unused0]", "[unused0]xy", " [unused0] ", "a word b", "words", "x <left>", "[UNK]", "##ing")


@pytest.fixture(scope="module")
def texts_of_languages(texts):
    return [*texts[:150], *hostile_texts(1500, seed=11), *nasty_documents(500, seed=3)]


@pytest.fixture(scope="module", params=STEPS)
def pieces(request, texts_of_languages):
    """The content of a `tokenizer.json` of word pieces."""
    normalizer, pre_tokenizer = STEPS[request.param]
    empty = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0},
    }
    content = {"version": "1.0", "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": empty}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=1500, limit_alphabet=500, special_tokens=["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts_of_languages, trainer)
    return json.loads(tokenizer.to_str())


DOCUMENTS = [
    "",
    " ",
    "\n",
    "a" * 700,
    "a" * 100,
    "a" * 101,
    " " * 600 + "x",
    "\u0301" * 400,
    ".\u0301",
    "=\u0338",
    "!\x00!",
    "ab" * 5000,
    *NASTY,
]
DOCUMENTS += [*hostile_texts(800, seed=1, names=NAMES), *nasty_documents(400, seed=2)]


def both(content, tmp_path, **options):
    """The vocabulary that takes the path, and the one that the library encodes."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    fast, slow = (load_vocabulary("huggingface", str(path), memo_bytes=size, **options) for size in (1 << 24, 0))
    assert isinstance(fast.fast_path, WordPath), fast.fast_path
    return fast, slow


def compare(fast, slow, documents):
    """Compares ids, and spans, twice: the second time units are known."""
    texts = block(documents)
    expected = slow.encode_block_with_offsets(*texts)
    for _ in range(2):
        ids, lengths = fast.encode_block(*texts)
        assert ids.dtype == np.int32
        for document, found, wanted in zip(documents, split_ids(ids, lengths), split_ids(*expected[:2]), strict=True):
            assert found == wanted, document
        found = fast.encode_block_with_offsets(*texts)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
        for name, a, b in zip(("begins", "ends"), found[2:], expected[2:], strict=True):
            for document, x, y in zip(documents, split_ids(a, lengths), split_ids(b, lengths), strict=True):
                assert x == y, (name, document)


@pytest.mark.parametrize("special_tokens", [False, True])
def test_ids_and_spans_are_those_of_the_library(pieces, tmp_path, texts, special_tokens):
    first = len(pieces["model"]["vocab"])
    added = [*pieces["added_tokens"], *({"id": first + i, **each} for i, each in enumerate(ADDED[1:]))]
    fast, slow = both(pieces | {"added_tokens": added}, tmp_path, special_tokens=special_tokens)
    compare(fast, slow, [*DOCUMENTS, *texts])


def word_piece(normalizer, pre_tokenizer, *, added=(), **settings):
    pieces = [
        "[UNK]",
        "[CLS]",
        *"abcdeé.!日",
        *(f"##{letter}" for letter in "abcdeé!"),
        "ab",
        "##bc",
        "abc",
        "##",
        "###",
        "##cab",
        "e\u0301",
    ]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}
    model["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    added = [
        {"id": pieces.index(each["content"]) if each["content"] in pieces else len(pieces) + i, **each} for i, each in enumerate(added)
    ]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "model": {**model, **settings},
    }


SPELLED = st.lists(
    st.sampled_from([*"abcdéABÉ.!日本 \n\t\0\x7f#\u0301\u0323\u00a0\u200b\u0378\u302e\u1161", "abc", "e\u0301", "İ", "ﬁ", "½", "…"])
)


@pytest.mark.parametrize("name", STEPS)
def test_texts_of_what_steps_tell_apart(tmp_path, name):
    fast, slow = both(word_piece(*STEPS[name]), tmp_path)

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(st.lists(SPELLED.map("".join), max_size=6))
    def holds(documents):
        compare(fast, slow, documents)

    holds()


@pytest.mark.parametrize(
    "settings",
    [
        {"continuing_subword_prefix": ""},
        {"continuing_subword_prefix": "#"},
        {"max_input_chars_per_word": 0},
        {"type": "WordLevel", "vocab": {"[UNK]": 3, "abc": 1, "a": 2, "日": 0}},
    ],
)
def test_settings_of_models(tmp_path, settings):
    fast, slow = both(word_piece(*STEPS["uncased"], **settings), tmp_path)
    compare(fast, slow, ["abc abcab ab##c", "#a", "##", "日abc", *DOCUMENTS])


def test_a_text_of_a_megabyte_without_a_cut(tmp_path):
    fast, slow = both(word_piece(*STEPS["uncased"], max_input_chars_per_word=300), tmp_path)  # the library's time grows with the cube
    compare(fast, slow, ["abc" * 100, "abc" * (1 << 18) + "a", "日本語の" * (1 << 16), " " * (1 << 20), "." * (1 << 17), "a\u0301" * 150])


def test_documents_longer_than_the_kernels_count_are_left_to_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(word_path, "MOST_BYTES", 40)
    fast, slow = both(word_piece(*STEPS["uncased"]), tmp_path)
    compare(fast, slow, ["ab" * 30, "short"])


@pytest.mark.parametrize("memo_bytes", [1, 100_000])
def test_a_memo_that_is_full_begins_afresh(tmp_path, memo_bytes):
    _, slow = both(word_piece(*STEPS["cased"]), tmp_path)
    small = load_vocabulary("huggingface", str(tmp_path / "tokenizer.json"), memo_bytes=memo_bytes)
    compare(small, slow, [*DOCUMENTS, *hostile_texts(2000, seed=4)])


def test_threads_share_a_path(tmp_path):
    fast, _ = both(word_piece(*STEPS["uncased"], added=ADDED), tmp_path)
    blocks = [block(hostile_texts(300, seed=seed, names=NAMES)) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first = [ids.tolist() for ids, _ in pool.map(lambda each: fast.encode_block(*each), blocks)]
        for _ in range(3):
            assert [ids.tolist() for ids, _ in pool.map(lambda each: fast.encode_block(*each), blocks)] == first
    assert [fast.encode_block(*each)[0].tolist() for each in blocks] == first


@pytest.mark.parametrize(
    ("content", "about"),
    [
        (word_piece({"type": "Replace", "pattern": {"String": "a"}, "content": "b"}, BERT), "Replace"),
        (word_piece(sequence("normalizers", bert(), {"type": "NFC"}), BERT), "NFC behind others"),
        (word_piece(bert(), {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": False}), "Split"),
        (word_piece(bert(), PUNCTUATION), "spaces"),
        (word_piece(bert(), None), "no pre-tokenizer"),
        (word_piece(bert(), BERT, unk_token="[GONE]"), "WordPiece without a token"),
        (word_piece(bert(), BERT, added=[token("<new>", normalized=True)]), "normalised text"),
    ],
)
def test_what_is_not_recognised_is_left_to_the_library(tmp_path, content, about):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    vocabulary = load_vocabulary("huggingface", str(path))
    assert isinstance(vocabulary.fast_path, NotRecognised) and about in vocabulary.describe_speed()


def test_names_that_are_looked_for_in_normalised_texts_where_nothing_normalises(tmp_path):
    added = [token("<new>", normalized=True), token("<newer>", normalized=True), token("[CLS]", special=True)]
    fast, slow = both(word_piece(None, STEPS["nothing"][1], added=added), tmp_path)
    compare(fast, slow, ["a<new>b <newer> abc", "[CLS]", *DOCUMENTS])


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_spans_whose_spaces_a_post_processor_trims(tmp_path, trim_offsets):
    content = word_piece(None, STEPS["nothing"][1], added=[token("  "), token(" a ")])
    trims = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": trim_offsets, "use_regex": True}
    fast, slow = both({**content, "post_processor": trims}, tmp_path)
    compare(fast, slow, ["  b", "a  b", "ab a b", *DOCUMENTS])


def test_names_of_special_tokens_that_are_pieces_stay_text(tmp_path):
    fast, slow = both(word_piece(bert(lowercase=False), STEPS["nothing"][1], added=[token("[CLS]", special=True)]), tmp_path)
    compare(fast, slow, ["[CLS]", "a [CLS] b", "x[CLS]", *DOCUMENTS])
    assert 1 not in fast.encode_block(*block(["[CLS]"]))[0]


def test_without_numba_the_library_encodes(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(word_piece(*STEPS["uncased"], max_input_chars_per_word=8)))
    monkeypatch.setattr(word_path.importlib.util, "find_spec", lambda name: None)
    assert "Numba" in load_vocabulary("huggingface", str(path)).describe_speed()


def test_what_another_release_of_the_library_told_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(word_piece(*STEPS["uncased"])))
    for version in ("0.0.1", "0.0.2"):
        monkeypatch.setattr(tokenizers, "__version__", version)
        monkeypatch.setattr(huggingface, "_FAST_PATHS", {})
        assert "WordPiece of words" in load_vocabulary("huggingface", str(path)).describe_speed()
    assert len(list(tmp_path.glob("cache/tokenreel/arrays/words-*"))) == 2


def metaspace(scheme="always", **settings):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True, **settings}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.fixture(scope="module")
def charsmap(train):
    """The rules of SentencePiece's `nmt_nfkc`, as files have them."""
    data = train("unigram")
    normalizer = dict(wire.fields(data))[3]
    return base64.b64encode(dict(wire.fields(normalizer))[2]).decode()


STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}
SPLIT = {"type": "WhitespaceSplit"}
PIECE_STEPS = {
    "plain": ([], [metaspace()]),
    "first": ([], [metaspace("first")]),
    "never": ([{"type": "NFKC"}], [metaspace("never")]),
    "t5": (["charsmap", STRIP, replace({"Regex": " {2,}"}, "▁")], [metaspace()]),
    "xlm_r": (["charsmap", replace({"Regex": " {2,}"}, " ")], [SPLIT, metaspace()]),
    "albert": (
        [
            replace({"String": "``"}, '"'),
            replace({"String": "''"}, '"'),
            *({"type": kind} for kind in ("NFKD", "StripAccents", "Lowercase")),
            "charsmap",
        ],
        [SPLIT, metaspace()],
    ),
    "stripped": (["charsmap", {**STRIP, "strip_left": True}, replace({"Regex": r"\s+"}, " ")], [metaspace("first")]),
    "prepended": ([{"type": "Prepend", "prepend": "▁"}, {"type": "NFC"}], [metaspace("never")]),
}


@pytest.fixture(scope="module", params=PIECE_STEPS)
def unigram(request, charsmap, texts):
    """The content of a `tokenizer.json` of a unigram model."""
    normalizers, pre_tokenizers = PIECE_STEPS[request.param]
    steps = [{"type": "Precompiled", "precompiled_charsmap": charsmap} if each == "charsmap" else each for each in normalizers]
    model = {"type": "Unigram", "vocab": [["<unk>", 0.0]], "unk_id": 0, "byte_fallback": False}
    splits = sequence("pretokenizers", *pre_tokenizers) if len(pre_tokenizers) > 1 else pre_tokenizers[0]
    content = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": sequence("normalizers", *steps) if steps else None,
        "pre_tokenizer": splits,
    }
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content | {"model": model}))
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=900, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>", "<pad>"], show_progress=False, max_piece_length=12
    )
    tokenizer.train_from_iterator([*texts[:60], *NASTY, *nasty_documents(300, seed=3)], trainer)
    found = json.loads(tokenizer.to_str())
    if request.param in ("first", "t5"):  # rounded, so that sums are often equal
        found["model"]["vocab"] = [[piece, round(score)] for piece, score in found["model"]["vocab"]]
    if request.param in ("never", "xlm_r"):
        found["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        found["model"]["byte_fallback"] = True
    return found


def test_scores_are_those_that_the_library_reads(tmp_path):
    """Its last bit decides between `w` `ww` and `ww` `w`."""
    scores = {
        **{"<unk>": 0.0, "▁": -1.83775413549961, "t": -5.954602963997161, ":": -6.101094669387023, "/": -6.4224096195653795},
        **{"w": -6.7753060235196285, "p": -7.436898185306495, "ht": -7.6778615282839535, "ww": -9.183990948636147},
    }
    model = {"type": "Unigram", "vocab": [*map(list, scores.items())], "unk_id": 0, "byte_fallback": False}
    content = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": metaspace("never"), "model": model}
    held = json.loads(tokenizers.Tokenizer.from_str(json.dumps(content)).to_str())["model"]["vocab"]
    assert held != model["vocab"]
    fast, slow = both(content, tmp_path)
    words = ("".join(letters) for count in (6, 7) for letters in itertools.product("wt/", repeat=count))
    compare(fast, slow, ["http://www t", "t http://www", *(f"t {word}" for word in words)])


@pytest.mark.parametrize("special_tokens", [False, True])
def test_pieces_of_unigram_models_are_those_of_the_library(unigram, tmp_path, texts, special_tokens):
    first = len(unigram["model"]["vocab"])
    added = [*unigram["added_tokens"], *({"id": first + i, **each} for i, each in enumerate(ADDED[1:]))]
    fast, slow = both(unigram | {"added_tokens": added}, tmp_path, special_tokens=special_tokens)
    compare(
        fast,
        slow,
        [*DOCUMENTS, " a", "a ", "  a  b  ", "a\n b", "\ta", "a\r\nb", " \u0301a", "a\u00a0 b", "؀ a", "ﬁ\u0301 b", "▁a ▁ b", *texts],
    )


def piece_model(charsmap, normalizers, pre_tokenizers, *, added=(), **settings):
    steps = [{"type": "Precompiled", "precompiled_charsmap": charsmap} if each == "charsmap" else each for each in normalizers]
    pieces = [
        "<unk>",
        "▁",
        *"abcdeé.!日",
        "ab",
        "bc",
        "▁a",
        "▁ab",
        "abc",
        "▁▁",
        "a▁",
        "e\u0301",
        "fi",
        "ca",
        "cab",
        "d<unk>",
        "<0x00>",
        "12",
    ]
    model = {"type": "Unigram", "unk_id": 0, "byte_fallback": False}
    model["vocab"] = [[piece, -float(number % 4) - 0.1 * (number % 3)] for number, piece in enumerate(pieces)]
    normalizer = sequence("normalizers", *steps) if steps else None
    added = [{"id": len(pieces) + i, **each} for i, each in enumerate(added)]
    content = {"version": "1.0", "added_tokens": added, "normalizer": normalizer}
    return content | {"pre_tokenizer": sequence("pretokenizers", *pre_tokenizers), "model": {**model, **settings}}


BYTES = [["<unk>", 0.0], ["a", -1.0], ["▁a", -1.0], *([f"<0x{byte:02X}>", -9.0] for byte in range(256))]


@pytest.mark.parametrize("name", PIECE_STEPS)
def test_spaces_and_pieces_that_steps_tell_apart(charsmap, tmp_path, name):
    vocabularies = [both(piece_model(charsmap, *PIECE_STEPS[name], added=[token("<t>")]), tmp_path)]
    vocabularies.append(both(piece_model(charsmap, *PIECE_STEPS[name], vocab=BYTES, byte_fallback=True), tmp_path))
    vocabularies.append(both(piece_model(charsmap, *PIECE_STEPS[name], vocab=BYTES[:-1], byte_fallback=True), tmp_path))
    parts = st.sampled_from(
        [*"abc  dé!日\t\n\r\0`'1▁\u0301\u00a0\u3000\u200b\u00ad\uff9e\u0600\u1100가", "``", "''", "<unk>", "<t>", "ﬁ", "½", "🇩", " \u0301"]
    )

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(st.lists(st.lists(parts, max_size=12).map("".join), max_size=6))
    def holds(documents):
        for fast, slow in vocabularies:
            compare(fast, slow, documents)

    holds()


@pytest.mark.parametrize(
    ("normalizers", "pre_tokenizers", "settings", "about"),
    [
        ([replace({"String": "a b"}, "c")], [metaspace()], {}, "Replace"),
        ([replace({"Regex": "a+"}, "c")], [metaspace()], {}, "Replace"),
        ([replace({"Regex": " {2,}"}, "_")], [metaspace()], {}, "Replace"),
        ([replace({"String": "a"}, "")], [metaspace()], {}, "Replace"),
        ([{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}], [metaspace()], {}, "Prepend behind"),
        ([bert()], [metaspace()], {}, "BertNormalizer"),
        ([], [metaspace(split=False)], {}, "does not split"),
        ([], [metaspace(), SPLIT], {}, "pre-tokenizers Metaspace, WhitespaceSplit"),
        ([replace({"Regex": " +"}, "▁")], [SPLIT, metaspace()], {}, "before WhitespaceSplit"),
        (
            [{"type": "Strip", "strip_left": True, "strip_right": True}],
            [metaspace()],
            {"added": [token("  ", normalized=True)]},
            "normalised",
        ),
        ([], [metaspace()], {"unk_id": None}, "Unigram without a token"),
        ([], [metaspace()], {"vocab": [["<unk>", 0.0], ["", -1.0]]}, "empty piece"),
    ],
)
def test_pieces_that_are_not_recognised_are_left_to_the_library(tmp_path, normalizers, pre_tokenizers, settings, about):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(piece_model("", normalizers, pre_tokenizers, **settings)))
    vocabulary = load_vocabulary("huggingface", str(path))
    assert isinstance(vocabulary.fast_path, NotRecognised) and about in vocabulary.describe_speed()


def test_a_megabyte_of_pieces_without_a_cut(charsmap, tmp_path):
    fast, slow = both(piece_model(charsmap, *PIECE_STEPS["t5"]), tmp_path)
    compare(fast, slow, ["abc" * (1 << 18), "日本語の" * (1 << 16), " " * (1 << 20), "x" * (1 << 16), "a\u0301" * (1 << 15)])


WIDE = "தமிழ் ภาษาไทยกำ हिन्दी க்ஷ がガ 👍🏽 🇩🇪 ❤️ 각 ཀྵ"


@pytest.mark.parametrize(
    "steps", [["charsmap"], PIECE_STEPS["t5"][0], ["charsmap", {"type": "Lowercase"}], ["charsmap", {"type": "StripAccents"}]]
)
def test_marks_that_have_no_rule_with_the_character_before(charsmap, tmp_path, steps):
    fast, slow = both(piece_model(charsmap, steps, [metaspace()], vocab=BYTES, byte_fallback=True), tmp_path)
    parts = st.sampled_from(
        [
            *WIDE,
            *"aé£©б日 \u0301\u0323\u0338\u20e3\u200d\ufe0f\u0651\u0628\u05b0\u05d0\u0600\u3099\u1100\u1161\u11a8\r\n🏽",
            "=\u0338",
            "ẛ\u0323",
        ]
    )

    @hypothesis.settings(max_examples=200, deadline=None)
    @hypothesis.given(st.lists(st.lists(parts, max_size=12).map("".join), max_size=6))
    def holds(documents):
        compare(fast, slow, documents)

    holds()


def test_marks_of_wide_characters_are_written_without_the_library(charsmap, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "_FAST_PATHS", {})  # other tests have the same tokenizer
    fast, slow = both(piece_model(charsmap, *PIECE_STEPS["t5"], vocab=BYTES, byte_fallback=True), tmp_path)
    asked = []
    by_library = WordPath._by_library
    monkeypatch.setattr(WordPath, "_by_library", lambda self, texts, *rest: asked.extend(texts) or by_library(self, texts, *rest))
    compare(fast, slow, [WIDE, f"{WIDE} e\u0301x {WIDE}"])
    assert {*asked} == {" e\u0301x"}, "there may be a rule for e and its mark"


def test_a_mark_that_is_one_cluster_with_what_is_put_before_the_text(charsmap, tmp_path):
    steps = [{"type": "Prepend", "prepend": "▁"}, "charsmap", replace({"Regex": " {2,}"}, "▁")]
    compare(
        *both(piece_model(charsmap, steps, [metaspace()]), tmp_path),
        ["\u0334\n", "\u0334 a", "\u0301 ", "\u0334", "a\u0334 \n", " \u0334 a"],
    )
