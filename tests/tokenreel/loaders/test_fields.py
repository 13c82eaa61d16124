import dataclasses
import itertools

import numpy as np
import pytest
import yaml

from pipelines import cli
from tests.datasets import PAD, random_examples, write_dataset
from tests.golden.builds import DATASETS
from tokenreel.errors import ConfigError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.loaders import load

DECODER = ["inputs", "targets", "loss_weights"]
DENSE = ["tokens", "targets", "target_weights"]


def test_derived_fields(tmp_path):
    for overlap, padded in ((0, False), (1, False), (0, True), (1, True)):
        path = tmp_path / f"{overlap}{padded}"
        arrays = random_examples(30, 12, overlap=overlap, padded=padded)
        write_dataset(path, {"train": arrays}, overlap=overlap)
        batch = load(path).take(np.arange(30), ["inputs", "targets", "loss_weights", "segment_ids", "positions", "padding_mask"])
        across = load(path).take(np.arange(30), ["targets", "loss_weights"], across_documents=True)["loss_weights"]
        stored = load(path).take(np.arange(30), ["segment_ids", "positions", "padding_mask"])
        alone = load(path).take(np.arange(30), ["padding_mask"])
        for row in range(30):
            tokens, starts = arrays["tokens"][row], arrays["document_starts"][row]
            number = int(arrays["num_tokens"][row]) if padded else len(tokens)
            segment, position = 1, 0
            for i in range(len(tokens)):
                if i and starts[i]:
                    segment, position = segment + 1, 0
                expected = (segment, position) if i < number else (0, 0)
                assert (stored["segment_ids"][row, i], stored["positions"][row, i]) == expected
                if i < 12:
                    assert (batch["segment_ids"][row, i], batch["positions"][row, i]) == expected
                    assert batch["inputs"][row, i] == tokens[i]
                    follows = i + 1 < len(tokens)
                    assert batch["targets"][row, i] == (tokens[i + 1] if follows else PAD)
                    real = i + 1 < number
                    assert batch["loss_weights"][row, i] == (real and not starts[i + 1])
                    assert across[row, i] == real
                position += 1
        for fields in (batch, stored):
            np.testing.assert_array_equal(fields["padding_mask"], fields["segment_ids"] > 0)
            assert fields["padding_mask"].dtype == np.int32
        assert list(alone) == ["padding_mask"] and np.array_equal(alone["padding_mask"], stored["padding_mask"])
        assert batch["inputs"].shape == (30, 12) and stored["segment_ids"].shape == (30, 12 + overlap)


@pytest.fixture(scope="module")
def build(corpus, tmp_path_factory):
    """Builds a small dataset of bytes with an objective, once for each set of settings."""
    found = {}

    def make(objective, **packing):
        name = repr((objective, packing))
        if name not in found:
            folder = tmp_path_factory.mktemp("built")
            config = {
                "output": str(folder / "dataset"),
                "sources": [{"files": [str(corpus / "blank_lines.jsonl")]}],
                "vocabulary": {"kind": "bytes", "options": {"extra_ids": 100}},
                "packing": {"mode": "best_fit", "seq_len": 64, **packing},
                "objective": objective,
            }
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            assert cli.main(["build", str(folder / "config.yaml"), "--direct_num_workers=1"]) == 0
            found[name] = folder / "dataset"
        return found[name]

    return make


# The loss of a prefix LM, as SeqIO's converter has it: `loss_on_targets_only`.


def weights_of_prefixes(batch, *, targets_only):
    """What SeqIO does, document by document: a target has weight 1 if it is of the document and not of its inputs."""
    expected = np.zeros(batch["inputs"].shape)
    for row, starts in enumerate(batch["document_starts"]):
        number = batch["num_tokens"][row] if "num_tokens" in batch else len(starts)
        for a, b in itertools.pairwise([0, *(np.flatnonzero(starts[1:number]) + 1).tolist(), number]):
            inputs = int(batch["prefix_mask"][row, a:b].sum()) if targets_only else 0
            expected[row, [at - 1 for at in range(a + max(1, inputs), b)]] = 1
    return expected


@pytest.mark.parametrize("packing", [{}, {"mode": "wrap", "overlap": 1}, {"mode": "wrap", "overlap": 0, "last_example": "pad"}])
def test_the_loss_of_a_prefix_lm_is_on_its_targets(build, packing):
    fields = [*DECODER, "prefix_mask", "document_starts"]
    for settings, only in (({}, True), ({"loss_on_targets_only": False}, False)):
        stored = load(build({"name": "prefix_lm", **settings}, **packing))
        causal = load(build({"name": "causal_lm"}, **packing))
        on_the_fly = causal.batches(20, objective=causal.objective("prefix_lm", **settings), features=fields_of(causal, fields))
        for batch in (stored.take(np.arange(20), fields_of(stored, fields)), next(on_the_fly)):
            np.testing.assert_array_equal(batch["loss_weights"], weights_of_prefixes(batch, targets_only=only))
            visible = batch["loss_weights"][:, :-1][batch["prefix_mask"][:, 1:]]
            assert bool(visible.any()) != only
        weights = stored.take(np.arange(20), ["loss_weights"])["loss_weights"]  # alone they cover all stored tokens
        np.testing.assert_array_equal(weights[:, :64], stored.take(np.arange(20), DECODER)["loss_weights"])


def fields_of(dataset, fields):
    return [*fields, "num_tokens"] if "num_tokens" in dataset.features else fields


def test_a_prefix_lm_of_before_has_the_loss_that_it_had(build, tmp_path):
    directory = build({"name": "prefix_lm"})
    older = tmp_path / "older"
    older.mkdir()
    for path in directory.iterdir():
        (older / path.name).symlink_to(path)
    (older / naming.MANIFEST).unlink()
    found = manifests.read(str(directory))
    assert found.algorithms["objective"] == "prefix_lm-2"
    before = dataclasses.replace(found, algorithms={**found.algorithms, "objective": "prefix_lm-1"}, objective_facts=None)
    (older / naming.MANIFEST).write_text(before.to_text(), encoding="utf-8")
    batch = load(older).take(np.arange(20), [*DECODER, "prefix_mask", "document_starts", "num_tokens"])
    np.testing.assert_array_equal(batch["loss_weights"], weights_of_prefixes(batch, targets_only=False))
    assert not load(older).objective("prefix_lm").loss_on_targets_only


# Masked data.


@pytest.mark.parametrize("name", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("where", ["stored", "on the fly"])
def test_dense_labels_of_masked_tokens(build, name, where):
    clean = load(build({"name": "causal_lm"}))
    if where == "stored":
        dataset = load(build({"name": name, "mask_id": 2}))
        batch = dataset.take(np.arange(20), [*DENSE, "mask_positions", "mask_weights", "example_id"])
        with pytest.raises(
            ConfigError, match=rf"inputs belongs to models that predict the next token, and {name} hides tokens: .* Ask for"
        ):
            dataset.take([0], ["inputs", "targets"])
        refused = dataset, None
    else:
        made_by = clean.objective(name, mask_id=2)
        batch = next(clean.batches(20, objective=made_by, features=[*DENSE, "mask_positions", "mask_weights", "example_id"]))
        refused = clean, made_by
    for fields in (["inputs", "targets"], DECODER, ["tokens", "loss_weights"]):
        dense = r"tokens, targets and target_weights, or for tokens, mask_positions and mask_ids and mask_weights\."
        with pytest.raises(ConfigError, match=f"Ask for {dense}"):
            refused[0].batches(4, objective=refused[1], features=fields)
    np.testing.assert_array_equal(batch["targets"], clean.take(batch["example_id"], ["tokens"])["tokens"])
    assert batch["target_weights"].dtype == np.int32 and batch["targets"].shape == batch["tokens"].shape == (20, 64)
    selected = [set(at[weight > 0].tolist()) for at, weight in zip(batch["mask_positions"], batch["mask_weights"], strict=True)]
    assert [set(np.flatnonzero(weights).tolist()) for weights in batch["target_weights"]] == selected
    assert (batch["tokens"] == batch["targets"])[batch["target_weights"] == 0].all()
    assert (batch["tokens"] != batch["targets"]).sum() > 100


def test_hidden_characters_have_no_decoder_features_either(build):
    dataset = load(build({"name": "character_denoising", "mask_id": 2}))
    assert set(dataset.take([0], DENSE)) == set(DENSE)
    with pytest.raises(ConfigError, match=r"character_denoising hides tokens: .* Ask for tokens, targets and target_weights\."):
        dataset.take([0], ["inputs", "targets"])


def test_typed_texts_have_no_shifted_targets(build):
    dataset = load(build({"name": "typo_noise"}))
    for name in ("targets", "padding_mask"):
        with pytest.raises(ConfigError, match=f"{name} would not be those of the stored inputs: there are "):
            dataset.take([0], ["inputs", name])


def test_where_nothing_is_hidden_there_are_no_dense_labels(build):
    with pytest.raises(
        ConfigError, match="target_weights is derived from mask_ids, mask_positions, mask_weights, tokens, which the records"
    ):
        load(build({"name": "causal_lm"})).take([0], DENSE)


@pytest.mark.parametrize("name", ["t5", "ul2"])
def test_the_targets_of_an_encoder_decoder_have_loss_weights(name):
    dataset = load(DATASETS / "v2" / name)
    batch = next(dataset.batches(6, shuffle=False, features=["inputs", "targets", "loss_weights", "num_targets"]))
    assert batch["loss_weights"].dtype == np.float32 and batch["loss_weights"].shape == batch["targets"].shape
    assert batch["loss_weights"].sum(axis=1).tolist() == batch["num_targets"].tolist()
    assert (batch["targets"][batch["loss_weights"] == 0] == dataset.manifest.pad_id).all()
    alone = next(dataset.batches(6, shuffle=False, features=["loss_weights"]))
    assert list(alone) == ["loss_weights"] and (alone["loss_weights"] == batch["loss_weights"]).all()
