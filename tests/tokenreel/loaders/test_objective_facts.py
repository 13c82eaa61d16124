"""What objectives ask about a vocabulary: a build and the loader of its dataset give the same answers, without tokenizers too."""

import dataclasses
import pathlib
import sys

import numpy as np
import pytest

from pipelines import cli
from tests.conftest import train_model
from tokenreel.config import reading
from tokenreel.errors import ConfigError, VocabularyError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.loaders import load
from tokenreel.objectives.registry import OBJECTIVES, check_sentinels, make_objective
from tokenreel.planning.recipe import make_recipe
from tokenreel.vocabularies.characters import write_character_model
from tokenreel.vocabularies.loading import load_vocabulary

SEQ_LEN = 64
NEEDS_SETTINGS = {"fill_in_the_middle": {"prefix_id": 5, "suffix_id": 6, "middle_id": 7}}


def word_piece(texts, path):
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=500, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(texts[:300], trainer)
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def vocabularies(texts, unigram_model, tmp_path_factory):
    """Settings of a vocabulary of each kind, with and without sentinels and a mask."""
    folder = tmp_path_factory.mktemp("vocabularies")
    write_character_model(str(folder / "characters.json"), sorted({c for text in texts[:100] for c in text}), "none")
    return {
        "plain": {"path": unigram_model},
        "sentinels": {"path": train_model(texts, folder, "bpe", 600, symbols=["<mask>"]), "options": {"extra_ids": 140}},
        "bytes": {"kind": "bytes", "options": {"extra_ids": 140}},
        "characters": {"kind": "characters", "path": str(folder / "characters.json")},
        "word_piece": {"kind": "huggingface", "path": word_piece(texts, folder / "tokenizer.json"), "options": {"eos_id": "[SEP]"}},
    }


def settings_of(vocabulary, corpus, objective=None):
    return {
        "output": "dataset",
        "sources": [{"files": [str(corpus / "plain.jsonl")]}],
        "vocabulary": vocabulary,
        "packing": {"seq_len": SEQ_LEN},
        "objective": objective or {"name": "causal_lm"},
    }


@pytest.fixture(scope="module")
def built(vocabularies, corpus, tmp_path_factory):
    """A dataset of each vocabulary, built once when it is first asked for."""
    import yaml

    found = {}

    def build(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            (folder / "config.yaml").write_text(yaml.safe_dump(settings_of(vocabularies[name], corpus)))
            command = ["build", str(folder / "config.yaml"), "--output", str(folder / "dataset"), "--direct_num_workers=1"]
            assert cli.main(command) == 0
            found[name] = folder / "dataset"
        return found[name]

    return build


def of_before(directory: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """The same dataset as it was built before manifests told what objectives ask."""
    to.mkdir()
    for path in directory.iterdir():
        if path.name != naming.MANIFEST:
            (to / path.name).symlink_to(path)
    older = dataclasses.replace(manifests.read(str(directory)), objective_facts=None)
    (to / naming.MANIFEST).write_text(older.to_text(), encoding="utf-8")
    assert "objective_facts" not in (to / naming.MANIFEST).read_text(encoding="utf-8")
    return to


def in_build(vocabulary, corpus, name, older=False):
    """The objective that a build makes, or why it makes none; `older`, as builds made it before manifests told the facts."""
    import yaml

    job = reading.load(yaml.safe_dump(settings_of(vocabulary, corpus, {"name": name, **NEEDS_SETTINGS.get(name, {})})))
    loaded = load_vocabulary(job.vocabulary.kind, job.vocabulary.path, **job.vocabulary.options)
    if older:
        facts = {**loaded.objective_facts(older=True), "pieces": loaded.pieces()}
        facts["pad_id"] = next(i for i in (loaded.pad_id, loaded.eos_id, 0) if i is not None)
        try:
            made = make_objective(name, seq_len=SEQ_LEN, vocabulary=facts, older=True, **NEEDS_SETTINGS.get(name, {}))
            check_sentinels(made)
        except ConfigError as error:
            return str(error)
        return made
    try:
        return make_recipe(job, loaded).objective
    except ConfigError as error:
        return str(error)


def in_loader(dataset, name):
    try:
        return dataset.objective(name, seq_len=SEQ_LEN, **NEEDS_SETTINGS.get(name, {}))
    except ConfigError as error:
        return str(error)


def assert_same(made, wanted):
    assert type(made) is type(wanted), (made, wanted)
    if isinstance(wanted, str):
        assert made == wanted
        return
    for field in dataclasses.fields(wanted):
        ours, theirs = getattr(made, field.name), getattr(wanted, field.name)
        if field.name == "special_ids":
            ours, theirs = set(ours), set(theirs)
        assert np.array_equal(ours, theirs), field.name


@pytest.mark.parametrize("age", ["new", "of before"])
@pytest.mark.parametrize("name", ["plain", "sentinels", "bytes", "characters", "word_piece"])
def test_the_loader_makes_the_objectives_that_a_build_makes(built, vocabularies, corpus, tmp_path, name, age):
    """And refuses those that it refuses, with the same words: no piece of the text becomes a sentinel."""
    directory = built(name) if age == "new" else of_before(built(name), tmp_path / "older")
    dataset = load(directory)
    refused = set()
    for objective in OBJECTIVES:
        made, wanted = in_loader(dataset, objective), in_build(vocabularies[name], corpus, objective, older=age != "new")
        assert_same(made, wanted)
        if isinstance(made, str):
            refused.add(objective)
    without_sentinels, masked = {"t5", "span_corruption", "ul2"}, {"bert", "roberta", "electra", "masked_lm"}
    words = {"whole_word_lm", "ngram_lm", "spanbert"}
    everywhere = {"causal_lm", "prefix_lm", "next_tokens", "fill_in_the_middle"}
    expected = {
        "plain": without_sentinels | masked | words | {"character_denoising", "typo_noise"},
        "sentinels": {"typo_noise"},
        "bytes": masked | words | {"character_denoising"},
        "characters": without_sentinels | masked | words | {"character_denoising"},
        "word_piece": without_sentinels | {"typo_noise"},
    }
    assert refused == expected[name]
    assert not refused & everywhere


@pytest.mark.parametrize("name", ["sentinels", "word_piece"])
def test_a_trainer_needs_no_tokenizer(built, monkeypatch, name):
    for library in ("sentencepiece", "tokenizers"):
        monkeypatch.setitem(sys.modules, library, None)
    dataset = load(built(name))
    objective = dataset.objective("spanbert", seq_len=SEQ_LEN)
    batch = next(dataset.batches(8, objective=objective))
    assert objective.word_starts.sum() > 50
    assert (batch["mask_weights"].sum(axis=1) > 0).all() and (batch["tokens"] == objective.mask_id).any()


def test_older_datasets_say_what_to_install(built, tmp_path, monkeypatch):
    dataset = load(of_before(built("sentinels"), tmp_path / "older"))
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(VocabularyError, match=r"objective t5 needs first_sentinel_id, .* pip install sentencepiece, or give"):
        dataset.objective("t5")
    with pytest.raises(VocabularyError, match="objective spanbert needs mask_id, word_starts, "):
        dataset.objective("spanbert")
    dataset.objective("bert", mask_id=4)  # as before: what it needs is given
    assert dataset.objective("t5", first_sentinel_id=739).first_sentinel_id == 739


def test_facts_are_no_part_of_the_fingerprint(built):
    found = manifests.read(str(built("sentinels")))
    assert dataclasses.replace(found, objective_facts=None).fingerprint == found.fingerprint
    assert found.objective_facts["special_ids"] == [[0, 4], [600, 739]]
    names = found.objective_facts["special_names"]
    assert (names["<mask>"], names["</s>"], names["<extra_id_0>"], len(names)) == (4, 1, 739, 145)
    assert (found.objective_facts["first_sentinel_id"], found.objective_facts["num_sentinels"]) == (739, 140)


def test_verify_compares_the_facts_with_the_vocabulary(built, tmp_path, capsys):
    directory = of_before(built("sentinels"), tmp_path / "altered")
    found = manifests.read(str(built("sentinels")))
    altered = dataclasses.replace(found, objective_facts={**found.objective_facts, "mask_id": 5})
    (directory / naming.MANIFEST).write_text(altered.to_text(), encoding="utf-8")
    assert cli.main(["verify", str(directory)]) == 1
    assert "its mask_id is 4, the manifest says 5" in capsys.readouterr().out
