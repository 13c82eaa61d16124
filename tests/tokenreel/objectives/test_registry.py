"""What all objectives have in common, and the frozen values that published datasets rely on."""

import json
import pathlib
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel import keys
from tokenreel.errors import BuildError, ConfigError
from tokenreel.objectives import base, registry
from tokenreel.objectives.registry import OBJECTIVES, make_objective

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
FIRST_VERSION = ("causal_lm", "fill_in_the_middle", "spelled_tokens")  # of which no other has been made yet
CHARACTERS = [None] * 4 + [chr(c) for c in range(32, 127)] + [None] * 101
VOCABULARY = {
    "vocab_size": 200,
    "pad_id": 0,
    "eos_id": 1,
    "mask_id": 2,
    "special_ids": [1, 3],
    "word_starts": np.arange(200) % 3 > 0,
    "characters": CHARACTERS,
    "pieces": [c and c * 4 for c in CHARACTERS],
    "num_sentinels": 60,
}
SENTINELS = {"fill_in_the_middle": {"prefix_id": 150, "suffix_id": 151, "middle_id": 152}}


def make(name, seq_len=32, *, older=False):
    return make_objective(name, seq_len=seq_len, vocabulary=VOCABULARY, older=older, **SENTINELS.get(name, {}))


def examples(made_by, n, first=0):
    """The same tokens for the same ids, whatever the batch."""
    length = made_by.raw_length()
    words = keys.bits(0, "test/tokens", np.arange(first, first + n), length)
    tokens = (4 + keys.below(words, 90)).astype(np.uint16)
    starts = keys.below(words ^ np.uint64(2**63), 10) == 0
    num_tokens = length - keys.below(keys.bits(0, "test/lengths", np.arange(first, first + n), 1)[:, 0], 5)
    tokens[np.arange(length) >= num_tokens[:, None]] = 0
    return {"tokens": tokens, "document_starts": starts & (tokens > 0), "num_tokens": num_tokens}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_shapes_and_dtypes(name):
    made_by = make(name)
    arrays = examples(made_by, 5)
    made = made_by.apply(arrays, np.arange(5), seed=0)
    assert made_by.name and made_by.version == (1 if name in FIRST_VERSION else 2)
    for field, (dtype, shape) in made_by.output_shapes().items():
        assert made[field].shape == (5, *shape) and made[field].dtype == (np.bool_ if dtype == "bit" else dtype), field
    empty = {field: values[:0] for field, values in arrays.items()}
    assert all(len(values) == 0 for values in made_by.apply(empty, np.zeros(0, int), seed=0).values())


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=12)
@given(data=st.data())
def test_any_batch_in_any_order_gives_the_same_bytes(name, data):
    made_by = make(name)
    ids = data.draw(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=12))
    together = made_by.apply(examples(made_by, 41), np.arange(41), seed=3, variant=1, epoch=2)
    arrays = {field: values[ids] for field, values in examples(made_by, 41).items()}
    for field, values in made_by.apply(arrays, ids, seed=3, variant=1, epoch=2).items():
        np.testing.assert_array_equal(values, together[field][ids])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_chunks_do_not_matter(name, monkeypatch):
    made_by = make(name)
    arrays = examples(made_by, 9)
    expected = made_by.apply(arrays, np.arange(9), seed=0)
    chunks = base.chunks
    monkeypatch.setattr(base, "chunks", lambda rows, width, tokens: chunks(rows, width, 2 * width))
    for field, values in made_by.apply(arrays, np.arange(9), seed=0).items():
        np.testing.assert_array_equal(values, expected[field])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_missing_fields_mean_one_full_document(name):
    made_by = make(name)
    arrays = {"tokens": examples(made_by, 6)["tokens"]}
    full = {**arrays, "document_starts": np.zeros(arrays["tokens"].shape, bool), "num_tokens": np.full(6, made_by.raw_length())}
    implicit, explicit = (made_by.apply(a, np.arange(6), seed=0) for a in (arrays, full))
    for field in implicit:
        np.testing.assert_array_equal(implicit[field], explicit[field])


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in ("fill_in_the_middle", "ul2")])
def test_restore(name):
    made_by = make(name)
    arrays = examples(made_by, 30)
    np.testing.assert_array_equal(made_by.restore(made_by.apply(arrays, np.arange(30), seed=0)), arrays["tokens"])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_statistics_add_up(name):
    made_by = make(name)
    arrays = examples(made_by, 12)
    made = made_by.apply(arrays, np.arange(12), seed=0)
    parts = [made_by.statistics({k: v[s] for k, v in arrays.items()}, {k: v[s] for k, v in made.items()}) for s in (slice(5), slice(5, 12))]
    added, whole = registry.add_statistics(*parts), made_by.statistics(arrays, made)
    assert whole["examples"] == 12 and whole["tokens"] == arrays["num_tokens"].sum() and added.keys() == whole.keys()
    for field, value in whole.items():
        np.testing.assert_array_equal(added[field], value) if not isinstance(value, dict) else None
        assert isinstance(value, np.ndarray) or added[field] == value


def digests(*, older=False):
    """A digest of what each objective makes of 16 fixed examples, and its first example in full."""
    found = {}
    for name in OBJECTIVES:
        made_by = make(name, older=older)
        made = made_by.apply(examples(made_by, 16), np.arange(16), seed=11, variant=1, epoch=2)
        if name == "fill_in_the_middle":
            tokens, offsets = made_by.rearrange(np.arange(4, 64), [0, 20, 41, 60], [5, 6, 7], seed=11)
            made = {"tokens": tokens, "offsets": offsets}
        found[name] = {
            "version": 1 if older else made_by.version,
            "first": {
                field: np.asarray(values[0]).astype(int).tolist()
                for field, values in sorted(made.items())
                if field in made_by.output_shapes()
            },
            "digest": keys.digest(
                *(part for field, v in sorted(made.items()) for part in (field, np.ascontiguousarray(v, "<i8").tobytes()))
            ),
        }
    return found


@pytest.mark.parametrize(("file", "older"), [("objectives.json", True), ("objectives-2.json", False)])
def test_golden_values(file, older):
    """A change here changes the masks of every dataset built before: raise the objective's `version` with it.

    The first file is what objectives of version 1 made, which the loader computes for datasets of that time.
    """
    golden = json.loads((GOLDEN / file).read_text()) | json.loads((GOLDEN / "objectives-added.json").read_text())  # since there are both
    found = digests(older=older)
    assert found.keys() == golden.keys()
    for name, values in found.items():
        assert values == golden[name], name


def test_presets_are_the_recipes():
    assert make("bert").random_ids == "regular" and make("roberta").rounding == "chance" and make("t5").raw_length() == 34
    assert make("bert", older=True).random_ids == "all"
    spanbert = make("spanbert")
    assert (spanbert.unit, spanbert.max_unit, spanbert.action_unit, spanbert.boundaries) == ("span", 10, "span", True)
    assert make("electra").mask_share == 0.85 and make("electra").random_share == 0


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "ngram_lm", "spanbert", "character_denoising"])
def test_settings_add_special_ids(name):
    """No setting makes a special token of the vocabulary an ordinary one."""
    for more in ([], [9, 10]):
        assert set(make_objective(name, seq_len=32, vocabulary=VOCABULARY, special_ids=more).special_ids) == {1, 3, *more}
    assert make_objective(name, seq_len=32, vocabulary=VOCABULARY, special_ids=[9], older=True).special_ids == [9]


@pytest.mark.parametrize("name", ["bert", "character_denoising"])
def test_what_fills_up_may_be_an_id_of_the_text(name):
    """A vocabulary with neither pad nor eos fills up with 0: tokens of id 0 are hidden and drawn like any other, padding is not."""
    vocabulary = {"vocab_size": 20, "pad_id": 0, "pads_with_text": True, "mask_id": 19}
    tokens = np.zeros((400, 32), np.uint16)
    num_tokens = np.full(400, 20)
    share = {"bert": "mask_share", "character_denoising": None}[name]
    settings_ = {} if share is None else {share: 0.0, "random_share": 1.0}
    made_by = make_objective(name, seq_len=32, vocabulary=vocabulary, **settings_)
    made = made_by.apply({"tokens": tokens, "num_tokens": num_tokens}, np.arange(400), seed=0)
    assert (made["tokens"][:, :20] != 0).any(axis=1).mean() > 0.9 and not made["tokens"][:, 20:].any()
    if name == "bert":
        assert made["mask_weights"].sum() == 400 * 3 and (made["tokens"][:, :20] == 0).sum() > 400 * 17  # 0 is drawn too
    with pytest.raises(ConfigError, match=r"unknown setting 'objective\.pads_with_text'"):
        make_objective(name, seq_len=32, vocabulary=VOCABULARY, pads_with_text=True)


def test_special_characters_are_no_characters():
    vocabulary = {**VOCABULARY, "special_ids": [1, 3, 5]}
    assert make("typo_noise").characters[5] == "!"
    assert make_objective("typo_noise", seq_len=32, vocabulary=vocabulary).characters[5] is None


def test_settings_go_before_the_vocabulary():
    assert make_objective("bert", seq_len=32, vocabulary=VOCABULARY, mask_id=7).mask_id == 7
    assert make_objective("t5", seq_len=32, vocabulary=VOCABULARY).eos_id == 1
    assert make_objective("t5", seq_len=32, vocabulary=VOCABULARY, eos_id=None).eos_id is None


@pytest.mark.parametrize(
    ("name", "settings_", "message"),
    [
        ("mlm", {}, "objective.name must be one of causal_lm, .* got 'mlm'"),
        ("bert", {"rates": 0.2}, "unknown setting 'objective.rates' of bert: did you mean 'rate'?"),
        ("bert", {"zzz": 0.2}, "unknown setting 'objective.zzz' of bert: it has action_unit, boundaries"),
        ("bert", {"rate": "0.2"}, "objective.rate must be a number, got '0.2'"),
        ("bert", {"max_predictions": 2.5}, "objective.max_predictions must be a whole number or nothing, got 2.5"),
        ("bert", {"boundaries": 1}, "objective.boundaries must be true or false, got 1"),
        ("bert", {"unit": "tokens"}, "objective.unit must be one of token, word, ngram, span, got 'tokens'"),
        ("bert", {"special_ids": [1, "a"]}, "objective.special_ids must be a list of a whole number"),
        ("bert", {"random_ids": "all"}, "objective.random_ids: all would draw special tokens too"),
        ("prefix_lm", {"form": "encoder_decoder", "loss_on_targets_only": False}, "loss_on_targets_only: false needs form decoder"),
        ("bert", {"_special": 1}, "unknown setting 'objective._special'"),
        ("bert", {"vocab_size": 3}, "unknown setting 'objective.vocab_size'"),
        ("fill_in_the_middle", {"prefix_id": 4, "suffix_id": 5}, "needs objective.middle_id: the vocabulary does not tell it"),
    ],
)
def test_impossible_settings(name, settings_, message):
    with pytest.raises(ConfigError, match=message):
        make_objective(name, seq_len=32, vocabulary=VOCABULARY, **settings_)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_hooks_before_packing(name):
    """A build can call them for any objective; they do nothing for most."""
    made_by = make(name)
    raw = made_by.raw_lengths(np.arange(50), seed=0)
    assert raw.max() == made_by.raw_length() and (raw.min() == raw.max()) == (not made_by.varies_length)
    tokens, offsets = np.arange(4, 104), np.arange(0, 101, 5)
    after, new_offsets = made_by.rearrange(tokens, offsets, np.arange(20), seed=0)
    lengths = made_by.document_lengths(np.diff(offsets), np.arange(20), seed=0)
    assert np.diff(new_offsets).tolist() == lengths.tolist()
    assert (after.tolist() != tokens.tolist()) == made_by.changes_documents


def test_packings_that_cannot_feed_an_objective():
    for name, mode, message in [
        ("t5", "segment_pairs", "cannot keep the segment ids of packing.mode segment_pairs"),
        ("typo_noise", "segment_pairs", "cannot keep the segment ids"),
        ("fill_in_the_middle", "full_sentences", "cuts sentences, which packing.mode full_sentences keeps whole"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make(name).check_packing(mode=mode)
    for name in OBJECTIVES:
        make(name).check_packing(mode="wrap")


def test_tokens_of_another_vocabulary():
    with pytest.raises(BuildError, match="tokens run from 7 to 200, the vocabulary has 200 ids"):
        make("bert").apply({"tokens": np.array([[7] * 31 + [200]])}, [0], seed=0)


def test_errors_name_an_objective_as_the_config_does():
    """They said `masked_lm` where the config says `spanbert`."""
    for name, (kind, _) in OBJECTIVES.items():
        with pytest.raises(ConfigError) as caught:
            make_objective(name, seq_len=1, vocabulary=VOCABULARY)
        assert kind.name == name or f"objective {kind.name} " not in str(caught.value), name
    made = make_objective("spanbert", seq_len=64, vocabulary=VOCABULARY)
    assert (made.name, made.called, pickle.loads(pickle.dumps(made)).called) == ("masked_lm", "spanbert", "spanbert")
    with pytest.raises(ConfigError, match=r"objective spanbert has no use for the token that packing.overlap = 1 repeats"):
        made.check_packing(mode="wrap", overlap=1, align=1)
