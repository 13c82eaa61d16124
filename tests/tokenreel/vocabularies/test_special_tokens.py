from __future__ import annotations

import functools
import itertools
import pathlib
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import cli
from tests.conftest import train_model
from tests.tokenreel.vocabularies.blocks import block
from tests.tokenreel.vocabularies.sentencepiece.models import UNESCAPED
from tokenreel import load as load_dataset
from tokenreel.config.reading import load
from tokenreel.errors import ConfigError, VocabularyError
from tokenreel.planning.recipe import make_recipe
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.special_tokens import SpecialTokens

NAMES = ["</s>", "<s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_7>"]


@pytest.fixture(scope="module")
def bpe_model(texts, tmp_path_factory):
    return train_model(texts, tmp_path_factory.mktemp("bpe"), "bpe")


def as_bytes(text, offsets, begins, owner):
    return text.astype(np.int32), np.diff(offsets)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="a<b>é", max_size=12), max_size=6))
def test_names_become_ids_and_the_rest_stays(documents):
    special = SpecialTokens({"<a>": 1000, "<a><b>": 1001, "b<": 1002})
    ids, lengths = special.encode_block(*block(documents), as_bytes)
    expected = []
    for document in documents:
        parts = re.split(b"(<a><b>|<a>|b<)", document.encode())
        ids_of = {b"<a>": [1000], b"<a><b>": [1001], b"b<": [1002]}
        expected.append([i for part in parts for i in ids_of.get(part, list(part))])
    assert ids.tolist() == [i for ids in expected for i in ids] and lengths.tolist() == list(map(len, expected))


def test_parts_know_where_they_lie():
    seen = {}

    def encode(text, offsets, begins, owner):
        seen.update(parts=[text[a:b].tobytes() for a, b in itertools.pairwise(offsets)], begins=begins, owner=owner)
        return as_bytes(text, offsets, begins, owner)

    SpecialTokens({"|": 5}).encode_block(*block(["a|b", "", "|", "c"]), encode)
    assert seen["parts"] == [b"a", b"b", b"", b"", b"", b"c"]
    assert seen["begins"].tolist() == [True, False, True, True, False, True] and seen["owner"].tolist() == [0, 0, 1, 2, 2, 3]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model(request, unigram_model, bpe_model):
    return {"unigram": unigram_model, "bpe": bpe_model}[request.param]


def test_extra_ids_lie_as_in_seqio(model):
    vocabulary = load_vocabulary("sentencepiece", model, extra_ids=10)
    assert vocabulary.vocab_size == 610
    assert vocabulary.find("<extra_id_0>") == 609 and vocabulary.find("<extra_id_9>") == 600 and vocabulary.find("<extra_id_10>") is None
    plain = load_vocabulary("sentencepiece", model)
    assert vocabulary.encode("a <extra_id_0>") == plain.encode("a <extra_id_0>"), "text does not become an extra id unasked"
    assert vocabulary.decode([*plain.encode("to"), 609, *plain.encode("be"), 608]) == "to <extra_id_0> be <extra_id_1>"
    assert len(vocabulary.word_starts) == 610 and not vocabulary.word_starts[600:].any()
    assert vocabulary.fingerprint != plain.fingerprint


def test_extra_ids_are_recognised_as_in_seqio(model, texts):
    """SeqIO appends the ids to the model as user-defined pieces that take the space before them along."""
    import sentencepiece

    vocabulary = load_vocabulary("sentencepiece", model, extra_ids=10, special_tokens=True)
    seqio = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.data + vocabulary._extra_pieces)
    words = " ".join(texts[:40]).split()
    documents = [
        " ".join(f"<extra_id_{(i // every) % 12}>" if i % every == 0 else word for i, word in enumerate(words[start : start + 30]))
        for every in (1, 2, 5)
        for start in range(0, 300, 30)
    ]
    documents += ["<extra_id_0>", "<extra_id_0> <extra_id_1>", "a <extra_id_3> \n ", "a\t<extra_id_3>\u00a0é", "x <extra_id_10> y"]
    expected = seqio.encode(documents)
    assert sum(610 > i >= 600 for ids in expected for i in ids) > 200
    assert [vocabulary.encode(text) for text in documents] == expected
    assert [vocabulary.decode(ids) for ids in expected] == seqio.decode(expected)


def test_control_symbols_are_recognised_when_asked(model):
    vocabulary = load_vocabulary("sentencepiece", model, special_tokens=True)
    encode = load_vocabulary("sentencepiece", model).encode
    assert vocabulary.encode("to be</s>") == [*encode("to be"), 1]
    assert vocabulary.encode("to be </s> to be") == [*encode("to be"), 1, *encode("to be")]
    assert vocabulary.encode("<s></s> <pad><unk>") == [3, 1, 0, 2]
    assert "".join(str(vocabulary.piece(i)) for i in vocabulary.encode("t</s>t")) == "▁t</s>t"
    assert vocabulary.encode("<0x41>") == encode("<0x41>"), "pieces for bytes are no special tokens"
    for untouched in ("to be", "< /s>", "<extra_id_0>", ""):
        assert vocabulary.encode(untouched) == encode(untouched)


@functools.lru_cache
def _loaded(data):
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=data)


def one_by_one(model, text, *, prefixes=True):
    """What the vocabulary should give, part by part with the library; `prefixes`: whether the model would remove spaces behind a name."""
    parts = re.split(f"({'|'.join(NAMES)})", text)
    data = pathlib.Path(model).read_bytes()
    changes = b"", b"\x1a\x02\x18\x00", b"\x1a\x04\x18\x00\x20\x00"  # NormalizerSpec: no dummy prefix; and no spaces removed
    plain, glued, inside = (_loaded(data + change) for change in changes)
    ids = plain.encode(parts[0])
    for name, part in zip(parts[1::2], parts[2::2], strict=True):
        number = re.fullmatch(r"<extra_id_(\d)>", name)
        ids.append(607 - int(number[1]) if number else plain.piece_to_id(name))
        ids += (plain if prefixes and inside.normalize(part).startswith(("▁", " ")) else glued).encode(part)
    return ids


@settings(max_examples=30, deadline=None)
@given(documents=st.lists(st.lists(st.sampled_from([*NAMES, " ", "the", "\t", "é", "日本", "▁", "<", "s>", "\u0301", "　"]), max_size=8)))
@pytest.mark.parametrize("options", [{}, {"memo_bytes": 0}])
def test_a_block_is_encoded_as_its_documents(model, documents, options):
    vocabulary = load_vocabulary("sentencepiece", model, extra_ids=8, special_tokens=True, **options)
    texts = ["".join(parts) for parts in documents]
    ids, lengths = vocabulary.encode_block(*block(texts))
    found = [part.tolist() for part in np.split(ids, np.cumsum(lengths))[:-1]]
    assert found == [vocabulary.encode(text) for text in texts] == [one_by_one(model, text) for text in texts]


def test_models_that_keep_spaces(texts, tmp_path):
    import sentencepiece

    (tmp_path / "corpus.txt").write_text("\n".join(texts[:500]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(tmp_path / "llama"),
        model_type="bpe",
        vocab_size=500,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        byte_fallback=True,
        num_threads=1,
        minloglevel=2,
    )
    vocabulary = load_vocabulary("sentencepiece", str(tmp_path / "llama.model"), special_tokens=True)
    assert "".join(str(vocabulary.piece(i)) for i in vocabulary.encode("a  </s>  b</s>b")) == "▁a▁▁</s>▁▁b</s>b"


@pytest.fixture(scope="module")
def ruled(texts, tmp_path_factory):
    """A model whose normaliser removes some spaces and makes others: "a b" is "a", "x" is a space, "_" nothing, "~" is "▁"."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("ruled")
    (folder / "corpus.txt").write_text("\n".join(texts[:500]))
    rules = {"a b": "a", " c": "c", "x": " ", "_": "", "~": "▁"}
    lines = ("\t".join(" ".join(f"{ord(letter):X}" for letter in side) for side in rule) for rule in rules.items())
    (folder / "rules.tsv").write_text("\n".join(lines) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "ruled"),
        model_type="bpe",
        vocab_size=400,
        normalization_rule_tsv=str(folder / "rules.tsv"),
        byte_fallback=True,
        num_threads=1,
        minloglevel=2,
    )
    return (folder / "ruled.model").read_bytes()


AFTER_NAMES = ["to", " to", "cat", " cat", "a b", "xto", "_to", "_ to", "_xto", "~to", "▁to", "  cat", "c", " a b", "\tto", "\u3000to", ""]


@pytest.mark.parametrize("change", [b"", UNESCAPED], ids=["escaped", "unescaped"])
def test_parts_begin_with_a_space_where_they_do_once_normalised(ruled, tmp_path, change):
    path = tmp_path / "ruled.model"
    path.write_bytes(ruled + change)
    vocabulary = load_vocabulary("sentencepiece", str(path), special_tokens=True)
    for part in AFTER_NAMES:
        expected = one_by_one(path, f"to<s>{part}")
        assert vocabulary.encode(f"to<s>{part}") == expected, repr(part)
    assert vocabulary.encode("to<s> cat") == vocabulary.encode("to<s>cat"), "the rule leaves no space"


def test_unescaped_spaces_are_spaces(ruled, tmp_path):
    path = tmp_path / "ruled.model"
    keeps_spaces, suffix = b"\x1a\x02\x20\x00", b"\x12\x03\xc0\x01\x01"
    path.write_bytes(ruled + UNESCAPED + keeps_spaces)
    vocabulary = load_vocabulary("sentencepiece", str(path), special_tokens=True)
    assert vocabulary.encode("to<s> to") == one_by_one(path, "to<s> to", prefixes=False)
    path.write_bytes(ruled + UNESCAPED + suffix)
    with pytest.raises(VocabularyError, match="whose spaces begin words"):
        load_vocabulary("sentencepiece", str(path), special_tokens=True)


def test_a_pickled_vocabulary_gives_the_same_ids(model):
    vocabulary = load_vocabulary("sentencepiece", model, extra_ids=3, special_tokens=True)
    assert vocabulary.encode("a <extra_id_0>")[-1] == 602
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy.encode("a <extra_id_0> b</s>") == vocabulary.encode("a <extra_id_0> b</s>")


def test_bytes_with_extra_ids():
    vocabulary = load_vocabulary("bytes", extra_ids=100)
    assert vocabulary.vocab_size == 359 and vocabulary.find("<extra_id_0>") == 358 and vocabulary.find("<extra_id_99>") == 259
    assert vocabulary.decode([358, *vocabulary.encode("é"), 259, 1]) == "<extra_id_0>é<extra_id_99>"
    assert len(vocabulary.characters) == 359
    assert len({load_vocabulary("bytes", extra_ids=n).fingerprint for n in (0, 1, 2)}) == 3


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("sentencepiece", {"extra_ids": -1}, "extra_ids must be a whole number"),
        ("sentencepiece", {"special_tokens": 1}, "special_tokens must be true or false"),
        ("bytes", {"extra_ids": True}, "extra_ids must be a whole number"),
        ("bytes", {"special_tokens": True}, "takes no option 'special_tokens'; it takes \\['extra_ids'\\]"),
    ],
)
def test_options_that_are_wrong(unigram_model, kind, options, message):
    with pytest.raises(VocabularyError, match=message):
        load_vocabulary(kind, unigram_model, **options)


def test_a_model_with_sentinels_of_its_own(texts, tmp_path):
    path = train_model(texts[:500], tmp_path, "unigram", 500, symbols=["<extra_id_0>"])
    with pytest.raises(VocabularyError, match="already, such as <extra_id_0>"):
        load_vocabulary("sentencepiece", path, extra_ids=2)


@pytest.mark.parametrize("kind", ["sentencepiece", "bytes"])
@pytest.mark.parametrize("objective", ["t5", "ul2"])
def test_objectives_use_the_extra_ids(write_config, tmp_path, unigram_model, kind, objective):
    vocabulary = {"kind": kind, "path": unigram_model if kind == "sentencepiece" else None, "options": {"extra_ids": 100}}
    config = write_config(vocabulary=vocabulary, objective={"name": objective}, packing={"seq_len": 128})
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    dataset = load_dataset(str(tmp_path / "dataset"))
    loaded = dataset.vocabulary()
    size = 700 if kind == "sentencepiece" else 359
    assert dataset.manifest.vocabulary.vocab_size == loaded.vocab_size == size
    example = dataset[0]
    sentinels = [name for name, values in example.items() if values.ndim == 1 and values.dtype.kind in "iu" and size - 1 in values.tolist()]
    assert len(sentinels) >= 1
    assert "<extra_id_0>" in loaded.decode(example[sentinels[0]])


@pytest.mark.parametrize("objective", ["t5", "ul2"])
def test_pieces_of_the_text_are_never_taken_for_sentinels(objective: str, unigram_model: str) -> None:
    job = f"{{output: x, sources: [{{files: [x]}}], vocabulary: {{path: {unigram_model}}}, objective: {{name: {objective}}}}}"
    vocabulary = load_vocabulary("sentencepiece", unigram_model)
    with pytest.raises(ConfigError, match=r"no <extra_id_0>\. Set vocabulary\.options\.extra_ids: 100"):
        make_recipe(load(job, ["objective.num_sentinels=140", "packing.seq_len=128"]), vocabulary)
    make_recipe(load(job, ["objective.first_sentinel_id=599", "packing.seq_len=128"]), vocabulary)
