from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import pickle
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import cli
from tests.conftest import train_model, tree_digest
from tests.tokenreel.vocabularies.blocks import block
from tokenreel import load as load_dataset
from tokenreel.config import build, parsing
from tokenreel.errors import ConfigError, VocabularyError
from tokenreel.vocabularies.loading import load_vocabulary
from tokenreel.vocabularies.sampled import SampledVocabulary
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece import sampler


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model(request, texts, unigram_model, tmp_path_factory):
    return unigram_model if request.param == "unigram" else train_model(texts, tmp_path_factory.mktemp("bpe"), "bpe")


@functools.cache
def sampled(model, seed=1, alpha=0.1, nbest_size=-1, **options):
    return SampledVocabulary(load_vocabulary("sentencepiece", model, **options), alpha=alpha, nbest_size=nbest_size, seed=seed)


def encode(vocabulary, documents, keys=None):
    keys = np.arange(len(documents), dtype=np.uint64) if keys is None else np.array(keys, dtype=np.uint64)
    ids, lengths = vocabulary.for_documents(keys).encode_block(*block(documents))
    assert ids.dtype == np.int32 and lengths.dtype == np.int64
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths))[:-1]]


def test_tokens_depend_on_the_document_and_the_seed_alone(model, texts):
    vocabulary = sampled(model)
    documents = [*texts[:40], "", "x"]
    together = encode(vocabulary, documents)
    assert together == encode(pickle.loads(pickle.dumps(vocabulary)), documents)
    backwards = encode(vocabulary, documents[::-1], range(len(documents))[::-1])
    assert together == backwards[::-1]
    assert together == [encode(vocabulary, [text], [i])[0] for i, text in enumerate(documents)]
    with ThreadPoolExecutor(4) as pool:
        assert all(other == together for other in pool.map(lambda _: encode(vocabulary, documents), range(8)))
    other_seed = encode(sampled(model, seed=2), documents)
    assert sum(a != b for a, b in zip(together, other_seed, strict=True)) > 35
    assert len({tuple(ids) for ids in encode(vocabulary, [texts[0]] * 50)}) > 45, "documents of other names"


def test_the_text_stays_the_same(model, texts):
    vocabulary = sampled(model, alpha=0.3)
    plain = load_vocabulary("sentencepiece", model)
    for text, ids in zip(texts[:60], encode(vocabulary, texts[:60]), strict=True):
        assert vocabulary.decode(ids) == plain.decode(plain.encode(text))


def test_the_extremes_of_alpha(model, texts):
    plain = load_vocabulary("sentencepiece", model)
    expected = [plain.encode(text) for text in texts[:40]]
    unigram = "unigram" in os.path.basename(model)
    best = encode(sampled(model, alpha=1e4 if unigram else 0.0), texts[:40])
    if unigram:  # up to segmentations of one score
        assert list(map(len, best)) == list(map(len, expected))
    else:
        assert best == expected
        single = encode(sampled(model, alpha=1.0), texts[:40])
        assert all(len(str(plain.piece(i))) == 1 or str(plain.piece(i)).startswith("<0x") for ids in single for i in ids)
    lengths = [
        sum(map(len, encode(sampled(model, alpha=alpha), texts[:40]))) for alpha in ((10, 1, 0.2, 0) if unigram else (0, 0.1, 0.5, 1))
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_draws_follow_the_probabilities_of_the_model(unigram_model):
    """The frequencies of a word's segmentations are their probabilities to the power of alpha, of all segmentations there are."""
    vocabulary = load_vocabulary("sentencepiece", unigram_model)
    processor = vocabulary._processor()
    pieces = {processor.id_to_piece(i): processor.get_score(i) for i in range(processor.vocab_size()) if not processor.is_control(i)}
    word, alpha, draws = "▁there", 0.5, 4000

    def segmentations(rest):
        if not rest:
            yield ()
        for end in range(1, len(rest) + 1):
            if rest[:end] in pieces:
                yield from ((rest[:end], *others) for others in segmentations(rest[end:]))

    weights = {found: np.exp(alpha * sum(pieces[piece] for piece in found)) for found in segmentations(word)}
    total = sum(weights.values())
    drawn = Counter(tuple(processor.id_to_piece(i) for i in ids) for ids in encode(sampled(unigram_model, alpha=alpha), ["there"] * draws))
    assert set(drawn) <= set(weights) and len(weights) > 5
    for found, weight in weights.items():
        expected = draws * weight / total
        assert abs(drawn[found] - expected) < 5 * np.sqrt(expected) + 2, found


def test_among_the_best_segmentations(unigram_model, texts):
    vocabulary = sampled(unigram_model, nbest_size=3)
    best = vocabulary._vocabulary._processor().nbest_encode("there is", nbest_size=3)
    drawn = encode(vocabulary, ["there is"] * 100)
    assert {tuple(ids) for ids in drawn} == {tuple(ids) for ids in best}


def test_special_tokens_stay_whole(model):
    vocabulary = sampled(model, extra_ids=4, special_tokens=True)
    drawn = encode(vocabulary, ["there is <extra_id_0> some</s>thing"] * 30)
    assert len({tuple(ids) for ids in drawn}) > 5
    assert all(ids.count(603) == ids.count(1) == 1 for ids in drawn)
    assert {vocabulary.decode(ids) for ids in drawn} == {"there is <extra_id_0> something"}


def test_sentences_have_draws_of_their_own(model):
    bound = sampled(model).for_documents(np.array([5, 6], dtype=np.uint64))
    ids, lengths = bound.for_sentences(np.array([30, 2])).encode_block(*block(["there is something"] * 32))
    parts = [tuple(part.tolist()) for part in np.split(ids, np.cumsum(lengths))[:-1]]
    assert len(set(parts[:30])) > 5
    again, again_lengths = bound.for_sentences(np.array([0, 2])).encode_block(*block(["there is something"] * 2))
    assert [tuple(p.tolist()) for p in np.split(again, np.cumsum(again_lengths))[:-1]] == parts[30:]
    with pytest.raises(VocabularyError, match="keyed by document"):
        bound.encode_block(*block(["a"] * 3))
    with pytest.raises(VocabularyError, match="keyed by document"):
        sampled(model).encode_block(*block(["a"]))


def test_everything_that_decides_tokens_is_in_the_fingerprint(model):
    one = sampled(model).fingerprint
    others = [sampled(model, seed=2), sampled(model, alpha=0.2), sampled(model, nbest_size=2), sampled(model, special_tokens=True)]
    assert len({one, load_vocabulary("sentencepiece", model).fingerprint, *(other.fingerprint for other in others)}) == 6
    assert sampled(model).fingerprint == one


@pytest.mark.parametrize("change", [{"scores": 1.0}, {"pieces": 1}])
def test_a_library_that_reads_models_otherwise_is_found(model, monkeypatch, change):
    """As if the library gave scores, or the ids of pieces, another meaning."""
    parse = sentencepiece_model.parse

    def other(data):
        found = parse(data)
        if "scores" in change:
            return dataclasses.replace(found, scores=-found.scores)
        normal = np.flatnonzero(found.types == sentencepiece_model.NORMAL)
        pieces = list(found.pieces)
        for i, j in itertools.pairwise(normal.tolist()):
            pieces[i], pieces[j] = pieces[j], pieces[i]
        return dataclasses.replace(found, pieces=pieces)

    monkeypatch.setattr(sentencepiece_model, "parse", other)
    sampler.load.cache_clear()
    with pytest.raises(VocabularyError, match="reads this model in another way"):
        sampled.__wrapped__(model)
    sampler.load.cache_clear()


def hostile(model):
    processor = load_vocabulary("sentencepiece", model)._processor()
    pieces = [processor.id_to_piece(i).replace("▁", " ") for i in range(10, processor.vocab_size())]
    pieces += [*"abcehrst \t\n\0é日本語▁😀\u0301\u200d", "the", "ing"] * 10
    return st.lists(st.sampled_from(pieces), max_size=30).map("".join)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_without_dropout_it_is_the_library(bpe_models, data):
    for model in bpe_models:
        documents = data.draw(st.lists(hostile(model), max_size=5))
        plain = load_vocabulary("sentencepiece", model)
        assert encode(sampled(model, alpha=0.0), documents) == [plain.encode(text) for text in documents]


@pytest.fixture(scope="module")
def bpe_models(texts, tmp_path_factory):
    """With byte fallback, without it, and with symbols of the user's."""
    import sentencepiece

    found = []
    for number, options in enumerate([{"byte_fallback": True}, {}, {"user_defined_symbols": ["the", "he", "x", "日本"]}]):
        directory = tmp_path_factory.mktemp(f"bpe{number}")
        (directory / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(directory / "corpus.txt"),
            model_prefix=str(directory / "m"),
            model_type="bpe",
            vocab_size=600,
            num_threads=1,
            minloglevel=2,
            **options,
        )
        found.append(str(directory / "m.model"))
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_long_units_are_merged_as_short_ones(bpe_models, texts, monkeypatch, alpha):
    documents = [*texts[:150], "".join(texts[:3]).replace(" ", "").replace("\n", ""), "日本the語xxx" * 40]
    for model in bpe_models:
        expected = encode(sampled(model, alpha=alpha), documents)
        with monkeypatch.context() as patch:
            patch.setattr(sampler, "_LONG_UNIT", 1)
            assert encode(sampled(model, alpha=alpha), documents) == expected
        with monkeypatch.context() as patch:
            patch.setattr(sampler, "_LONG_UNIT", 10_000)
            assert encode(sampled(model, alpha=alpha), documents) == expected


@pytest.mark.parametrize("alpha", [0.1, 0.4])
@pytest.mark.parametrize("word", ["returns", "something", "日x"])
def test_draws_are_as_frequent_as_the_library_s(model, word, alpha):
    vocabulary = sampled(model, alpha=alpha)
    draws = 3000
    ours = Counter(map(tuple, encode(vocabulary, [word] * draws)))
    processor = vocabulary._vocabulary._processor()
    theirs = Counter(tuple(processor.encode(word, enable_sampling=True, alpha=alpha, nbest_size=-1)) for _ in range(draws))
    for found in {*ours, *theirs}:
        assert abs(ours[found] - theirs[found]) < 6 * np.sqrt(ours[found] + theirs[found]) + 2, found


def test_slices_change_nothing(model, texts, monkeypatch):
    documents = [*texts[:60], "", "x"]
    expected = encode(sampled(model), documents)
    monkeypatch.setattr(sampler, "_SLICE_BYTES", 700)
    assert encode(sampled(model), documents) == expected


def test_units_of_any_length_have_finite_sums(unigram_model):
    """The weights of a long unit leave the range of floats."""
    text = "\u4e00" * 20_000 + "thethe" * 5000
    vocabulary = sampled(unigram_model, alpha=3.0)
    (ids,) = encode(vocabulary, [text])
    assert vocabulary.decode(ids) == text


def test_models_and_kinds_that_cannot_sample(texts, tmp_path):
    with pytest.raises(VocabularyError, match="this model cannot sample"):
        sampled(train_model(texts, tmp_path, "char", 400))
    with pytest.raises(VocabularyError, match="needs a vocabulary of kind sentencepiece"):
        SampledVocabulary(load_vocabulary("bytes"), alpha=0.1, nbest_size=-1, seed=1)


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"vocabulary": {"kind": "bytes", "sampling": {}}}, r"vocabulary\.sampling needs kind sentencepiece"),
        ({"vocabulary": {"path": "x", "sampling": {"alpha": -1}}}, "alpha must be 0 or more, got -1"),
        ({"vocabulary": {"path": "x", "sampling": {"alpha": float("nan")}}}, "alpha must be 0 or more, got nan"),
        ({"vocabulary": {"path": "x", "sampling": {"nbest_size": 1}}}, "nbest_size must be -1"),
        ({"vocabulary": {"path": "x", "sampling": {"nbest": 1}}}, r"'vocabulary\.sampling\.nbest': did you mean 'nbest_size'"),
        ({"vocabulary": {"path": "x", "sampling": {}, "offsets": True}}, r"vocabulary\.offsets does not go with"),
        ({"vocabulary": {"path": "x", "sampling": {}}, "variants": 2}, "set variants to 1, and build again with other seeds"),
    ],
)
def test_settings_that_are_wrong(given_settings, message):
    with pytest.raises(ConfigError, match=message):
        parsing.from_dict(build.JobConfig, {"output": "out", "sources": [{"files": "x"}], **given_settings})


def test_settings_of_builds_without_sampling_are_what_they_were():
    job = {"output": "out", "sources": [{"files": "x"}], "vocabulary": {"path": "x"}}
    assert "sampling" not in parsing.from_dict(build.JobConfig, job).semantics()["vocabulary"]
    job["vocabulary"]["sampling"] = {"alpha": 0.2}
    kept = parsing.from_dict(build.JobConfig, job).semantics()["vocabulary"]["sampling"]
    assert kept == {"alpha": 0.2, "nbest_size": -1}


def test_builds_have_the_same_bytes_however_they_run(write_config, tmp_path, model):
    whole, sentences = {"seq_len": 64}, {"mode": "full_sentences", "seq_len": 64, "sentences": "rules"}
    packing = whole if "unigram" in os.path.basename(model) else sentences

    def run(name, *arguments, **changed):
        vocabulary = {"path": model, "sampling": {"alpha": 0.1}}
        path = write_config(**{"vocabulary": vocabulary, "packing": packing, **changed})
        output = tmp_path / name
        assert cli.main(["build", path, "--output", str(output), *arguments]) == 0
        return tree_digest(output)

    stage = ["--set", f"execution.stage={tmp_path / 'stage'}", "--direct_num_workers=1"]
    expected = run("one", *stage)
    assert run("other_seed", *stage, seed=8) != expected, "a kept stage holds the draws of another seed"
    assert run("kept_stage", *stage) == expected
    threads = ["--set", "execution.block_mb=0.02", "--direct_num_workers=4", "--direct_running_mode=multi_threading"]
    assert run("threads", *threads) == expected
    assert cli.main(["verify", str(tmp_path / "one")]) == 0
    dataset = load_dataset(str(tmp_path / "one"))
    assert dataset.manifest.algorithms["sampling"] == sampler.VERSION
    assert dataset.vocabulary().fingerprint == load_vocabulary("sentencepiece", model).fingerprint


def test_processes_change_nothing(write_config, tmp_path, unigram_model):
    path = write_config(vocabulary={"path": unigram_model, "sampling": {"alpha": 0.1}})
    assert cli.main(["build", path, "--output", str(tmp_path / "one"), "--direct_num_workers=1"]) == 0
    command = [sys.executable, "-m", "pipelines.build", path, "--output", str(tmp_path / "two")]
    options = ["--set", "execution.block_mb=0.05", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    subprocess.run([*command, *options], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=300)
    assert tree_digest(tmp_path / "two") == tree_digest(tmp_path / "one")
