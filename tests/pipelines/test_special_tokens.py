"""Nothing special is ever hidden, predicted or drawn: recounted from the records of every recipe that hides tokens, and from batches."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
import yaml

import tokenreel
from pipelines import cli
from tests.conftest import train_model
from tests.golden import builds

SENTINELS = 140
NAMES = ["<pad>", "</s>", "<unk>", "<s>", "[CLS]", "[SEP]", "[MASK]", "<mask>", *(f"<extra_id_{i}>" for i in reversed(range(SENTINELS)))]
MASKED = ("albert", "bert", "electra", "roberta", "spanbert")
RECIPES = (*MASKED, "characters", "t5", "ul2")
SEQ_LEN = 96

Arrays = Mapping[str, npt.NDArray]


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A vocabulary for a config, and the ids of `NAMES` in it."""

    settings: list[str]
    ids: dict[str, int]


@pytest.fixture(scope="module")
def tokenizers(texts, tmp_path_factory) -> dict[str, Tokenizer]:
    """Small vocabularies, a sixth of whose ids are special: one that is drawn in their place would be noticed."""
    import sentencepiece
    import tokenizers

    folder = tmp_path_factory.mktemp("tokenizers")
    path = train_model(texts, folder, "unigram", 800, symbols=["<mask>"], control_symbols=["[CLS]", "[SEP]", "[MASK]"])
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    ids = {name: processor.piece_to_id(name) for name in NAMES[:8]} | {f"<extra_id_{i}>": 800 + SENTINELS - 1 - i for i in range(SENTINELS)}
    piece = Tokenizer(["vocabulary.kind=sentencepiece", f"vocabulary.path={path}", f"vocabulary.options.extra_ids={SENTINELS}"], ids)

    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=800 + SENTINELS, special_tokens=NAMES, show_progress=False)
    tokenizer.train_from_iterator(texts[:500], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    json_ids = {name: tokenizer.token_to_id(name) for name in NAMES}
    return {
        "SentencePiece": piece,
        "tokenizer.json": Tokenizer(
            ["vocabulary.kind=huggingface", f"vocabulary.path={folder / 'tokenizer.json'}", "vocabulary.options={mask_id: '<mask>'}"],
            json_ids,
        ),
    }


@pytest.fixture(scope="module")
def text(texts, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts[:200]), encoding="utf-8")
    return path


def build(recipe: str, text: pathlib.Path, to: pathlib.Path, *settings: str) -> tokenreel.Dataset:
    command = ["build", str(builds.ROOT / f"configs/{recipe}.yaml"), "--input", str(text), "--output", str(to), "--direct_num_workers=1"]
    own = ["splits={}", f"packing.seq_len={SEQ_LEN}", "shards.examples=64", *settings]
    assert cli.main([*command, *(part for setting in own for part in ("--set", setting))]) == 0
    return tokenreel.load(to)


def objective(recipe: str) -> dict[str, object]:
    found = yaml.safe_load(builds.config(recipe))["objective"]
    if recipe == "characters":
        found["mask_id"] = "<mask>"  # the vocabulary's own, which the recipe need not name
    return found | ({"max_predictions": 20} if "max_predictions" in found else {})


def check_masked(batch: Arrays, ids: Mapping[str, int], mask_id: int, *, draws: bool) -> None:
    special = sorted(ids.values())
    row, slot = np.nonzero(batch["mask_weights"])
    at = batch["mask_positions"][row, slot]
    old, new = batch["mask_ids"][row, slot], batch["tokens"][row, at]
    assert len(row) > 500
    assert not np.isin(old, special).any(), "a special token was selected"
    assert set(new[np.isin(new, special)].tolist()) == {mask_id}, "a special token was drawn"
    drawn = (new != mask_id) & (new != old)
    assert drawn.any() == draws
    if draws:
        assert drawn.sum() > 40
    if "segment_ids" in batch:
        assert (batch["tokens"][:, 0] == ids["[CLS]"]).all()
        assert ((batch["tokens"] == ids["[SEP]"]).sum(axis=1) == 2).all()


def check_hidden_characters(batch: Arrays, ids: Mapping[str, int], mask_id: int) -> None:
    hidden = batch["tokens"] != batch["targets"]
    assert hidden.sum() > 500 and (batch["tokens"][hidden] == mask_id).all()
    assert not np.isin(batch["targets"][hidden], sorted(ids.values())).any()
    assert (hidden == (batch["target_weights"] > 0)).all()


def check_spans(batch: Arrays, ids: Mapping[str, int]) -> None:
    """Noise is drawn over positions, so an eos between documents may lie in it (docs/objectives.md); nothing else special does."""
    sentinels = [ids[f"<extra_id_{i}>"] for i in range(SENTINELS)]
    found = set()
    for name in ("inputs", "targets"):
        for row, count in zip(batch[name], batch[f"num_{name}"], strict=True):
            marks = row[:count][np.isin(row[:count], sentinels)].tolist()
            assert marks == sentinels[: len(marks)] and marks  # each once, in their order: none was in the text
            found |= set(row[:count].tolist())
    assert found & set(ids.values()) == {ids["</s>"], *(set(sentinels) & found), *({ids["<unk>"]} & found)}


def check(batch: Arrays, recipe: str, ids: Mapping[str, int]) -> None:
    named = objective(recipe).get("mask_id")
    mask_id = ids[named] if isinstance(named, str) else named
    if recipe in MASKED:
        assert isinstance(mask_id, int)
        check_masked(batch, ids, mask_id, draws=recipe != "electra")
    elif recipe == "characters":
        assert isinstance(mask_id, int)
        check_hidden_characters(batch, ids, mask_id)
    else:
        check_spans(batch, ids)


@pytest.mark.parametrize("kind", ["SentencePiece", "tokenizer.json"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_leave_special_tokens_alone(tokenizers, text, tmp_path, recipe, kind):
    tokenizer = tokenizers[kind]
    settings = ["objective.max_predictions=20"] if "max_predictions" in objective(recipe) else []
    dataset = build(recipe, text, tmp_path / "dataset", *tokenizer.settings, *settings)
    check(dataset.take(np.arange(len(dataset))), recipe, tokenizer.ids)
    special = {i for first, last in dataset.manifest.objective_facts["special_ids"] for i in range(first, last + 1)}
    assert special == set(tokenizer.ids.values())
    assert dataset.manifest.objective_facts["special_names"] == {name: tokenizer.ids[name] for name in NAMES}
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [("bert", "SentencePiece"), ("bert", "tokenizer.json"), ("spanbert", "tokenizer.json"), ("characters", "SentencePiece")],
)
def test_the_loader_leaves_special_tokens_alone(tokenizers, text, tmp_path, recipe, kind):
    """The same layout, and the objective computed for each batch; tokens are named as in a config."""
    tokenizer = tokenizers[kind]
    dataset = build(recipe, text, tmp_path / "dataset", *tokenizer.settings, "objective={name: causal_lm}", "variants=1")
    settings = objective(recipe)
    made_by = dataset.objective(str(settings.pop("name")), **settings)
    for batch in dataset.batches(len(dataset), objective=made_by, epochs=2, seed=5):
        check(batch, recipe, tokenizer.ids)


def test_what_a_config_names_is_special(texts, text, tmp_path):
    """Ordinary pieces become special by being named: as separator, in `special_ids`, as a mode token, by the sentinels."""
    path = train_model(texts, tmp_path, "unigram", 800, symbols=["<mask>"])
    vocabulary = ["vocabulary.kind=sentencepiece", f"vocabulary.path={path}"]
    packing = ["packing.mode=best_fit", "packing.sentences=null", "packing.add_eos=false", "packing.separator_id=▁the"]
    named = ["objective.special_ids=['▁of', ',']"]
    dataset = build("roberta", text, tmp_path / "dataset", *vocabulary, *packing, *named, "variants=2")
    loaded = dataset.vocabulary()
    ids = {name: loaded.find(name) for name in ("▁the", "▁of", ",", "<mask>", "<pad>", "</s>", "<unk>", "<s>")}
    assert set(dataset.manifest.objective_facts["special_names"]) == set(ids)
    batch = dataset.take(np.arange(len(dataset)))
    check_masked(batch, ids, ids["<mask>"], draws=True)
    for name in ("▁the", "▁of", ","):
        assert (batch["tokens"] == ids[name]).sum() > 100
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0
    made_by = dataset.objective("bert", special_ids=["▁and", "</s>"])  # one that only the vocabulary knows
    assert set(made_by.special_ids) == {*ids.values(), loaded.find("▁and")}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("objective.special_ids=['[NONE]']", "objective.special_ids: the vocabulary has no piece '[NONE]'"),
        ("objective.special_ids=[5000]", "objective.special_ids holds ids of the vocabulary, 0 to"),
        ("objective.random_ids=all", "objective.random_ids: all would draw special tokens too"),
    ],
)
def test_what_is_refused(tokenizers, text, tmp_path, capsys, settings, message):
    command = ["build", str(builds.ROOT / "configs/roberta.yaml"), "--input", str(text), "--output", str(tmp_path / "dataset")]
    own = [*tokenizers["SentencePiece"].settings, settings]
    assert cli.main([*command, *(part for setting in own for part in ("--set", setting))]) == 2
    assert message in capsys.readouterr().err


def test_mode_tokens_are_named(tokenizers, text, tmp_path):
    """Wherever a config takes an id it takes a name."""
    by_name = "objective.denoisers=[{density: 0.15, mean_span: 3, mode_id: '[CLS]'}, {density: 0.25, mean_span: null, mode_id: '[SEP]'}]"
    tokenizer = tokenizers["SentencePiece"]
    dataset = build("ul2", text, tmp_path / "dataset", *tokenizer.settings, by_name)
    batch = dataset.take(np.arange(len(dataset)))
    wanted = np.array([tokenizer.ids["[CLS]"], tokenizer.ids["[SEP]"]])
    assert (batch["inputs"][:, 0] == wanted[batch["denoiser"]]).all() and set(batch["denoiser"].tolist()) == {0, 1}
    assert cli.main(["verify", str(tmp_path / "dataset")]) == 0


# One pad id.


@pytest.mark.parametrize(("options", "pad_id"), [({"eos_id": 7}, 7), ({"eos_id": 7, "pad_id": 3}, 3), ({}, 0)])
def test_one_pad_id(tmp_path, options, pad_id):
    """Without a pad id eos fills examples up, and without eos 0; real tokens of id 0 are masked like any other."""
    rng = np.random.default_rng(0)
    documents = [" ".join(map(str, np.where(rng.random(size) < 0.5, 0, rng.integers(10, 40, size)))) for size in rng.integers(20, 90, 200)]
    (tmp_path / "ids.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in documents))
    config = {
        "output": str(tmp_path / "dataset"),
        "sources": [{"files": [str(tmp_path / "ids.jsonl")]}],
        "vocabulary": {"kind": "pass_through", "options": {"vocab_size": 40, **options}},
        "packing": {"mode": "best_fit", "seq_len": 64, "add_eos": "eos_id" in options},
    }
    spans = {"first_sentinel_id": 39, "num_sentinels": 9, "mean_span": 8, "targets_length": 20}
    for name, settings in (("bert", {"mask_id": 8}), ("t5", spans)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config | {"output": str(tmp_path / name), "objective": {"name": name, **settings}}))
        assert cli.main(["build", str(path), "--direct_num_workers=1"]) == 0
        dataset = tokenreel.load(tmp_path / name)
        assert dataset.manifest.pad_id == pad_id
        batch = dataset.take(np.arange(len(dataset)))
        filled = {"tokens": "num_tokens"} if name == "bert" else {"inputs": "num_inputs", "targets": "num_targets"}
        for field, count in filled.items():
            padding = np.arange(batch[field].shape[1]) >= batch[count][:, None]
            assert padding.any() and (batch[field][padding] == pad_id).all(), field
        if name == "bert":
            selected = batch["mask_ids"][batch["mask_weights"] > 0]
            assert 0.4 < np.mean(selected == 0) < 0.6
        assert dataset.objective("bert", mask_id=8).pad_id == pad_id
        assert cli.main(["verify", str(tmp_path / name)]) == 0
    with pytest.raises(tokenreel.errors.ConfigError, match=f"are padded with {pad_id}. Leave it out"):
        dataset.objective("bert", mask_id=8, pad_id=9)
