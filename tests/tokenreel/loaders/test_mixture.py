import dataclasses
import json

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import Mixture, load

SIZES = {"web": 700, "code": 300, "books": 50}


@pytest.fixture(scope="module")
def arrays():
    return {name: random_examples(size, 8, seed=size) for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def datasets(arrays, tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    for name, values in arrays.items():
        write_dataset(root / name, {"train": values}, per_shard=64)
    return {name: load(root / name) for name in SIZES}


def padded(path, size, tokens, *, statistics=True):
    """A dataset whose statistics say how many real tokens it holds."""
    arrays = random_examples(size, 8, padded=True)
    arrays["num_tokens"][:] = tokens
    told = {"splits": {"train": {"tokens_in_examples": size * tokens, "examples": size}}}
    write_dataset(path, {"train": arrays}, statistics=told if statistics else None)
    return load(path)


def test_batches_hold_the_sources_in_proportion(arrays, datasets):
    mixture = Mixture(datasets, {"web": 0.7, "code": 0.2, "books": 0.1})
    batches = [batch for batch, _ in zip(mixture.batches(64, seed=1), range(32), strict=False)]
    source = np.concatenate([batch["source"] for batch in batches])
    assert source.dtype == np.int32
    for edge in (1024, 2048):
        assert (abs(np.bincount(source[:edge], minlength=3) - edge * np.array([0.7, 0.2, 0.1])) < 1).all()
    for batch in batches:
        for number, name in enumerate(mixture.names):
            rows = batch["source"] == number
            assert np.array_equal(batch["tokens"][rows], arrays[name]["tokens"][batch["example_id"][rows]])


def test_resume_hosts_and_batch_size(datasets):
    mixture = Mixture(
        datasets, {"web": 3, "code": 2, "books": 1}, stages=[(500, {"web": 1, "code": 0, "books": 1})], budget=1200, by="examples"
    )
    expected = [(batch["source"].tolist(), batch["example_id"].tolist()) for batch in mixture.batches(1, seed=2, prefetch=0)]
    assert len(expected) == 1200
    state, cursor = None, 0
    for hosts, batch_size in ((2, 100), (3, 99), (1, 7), (4, 200), (2, 600)):
        iterators = [mixture.batches(batch_size, seed=2, hosts=hosts, host=host, prefetch=0) for host in range(hosts)]
        for iterator in iterators:
            if state:
                iterator.set_state(json.loads(json.dumps(state)))
        got = [next(iterator) for iterator in iterators]
        pairs = [([s], [e]) for batch in got for s, e in zip(batch["source"].tolist(), batch["example_id"].tolist(), strict=True)]
        assert pairs == expected[cursor : cursor + batch_size]
        cursor += batch_size
        state = iterators[0].get_state()


def test_weights_count_tokens_or_examples(tmp_path):
    short, long = padded(tmp_path / "short", 100, 2), padded(tmp_path / "long", 100, 8)
    by_tokens = Mixture({"short": short, "long": long}, {"short": 1, "long": 1})
    assert by_tokens.stages[0].weights == (4, 1)  # four times as many short ones make as many tokens
    assert Mixture({"short": short, "long": long}, {"short": 1, "long": 1}, by="examples").stages[0].weights == (1, 1)
    assert Mixture({"short": short, "long": long}).stages[0].weights == (1, 1)  # by size: used up together
    plan = Mixture({"short": short, "long": long}, {"short": 1, "long": 1}, budget=32_000).plan()
    counts = plan.counts_before(len(plan))
    spent, one_less = counts[0] * 2 + counts[1] * 8, plan.counts_before(len(plan) - 1)
    assert spent >= 32_000 > one_less[0] * 2 + one_less[1] * 8
    unknown = padded(tmp_path / "unknown", 10, 3, statistics=False)
    Mixture({"short": short, "unknown": unknown}, by="examples")
    with pytest.raises(ConfigError, match=r"statistics\.json: does not say how many tokens"):
        Mixture({"short": short, "unknown": unknown})


def test_stop_rules(datasets):
    equal = dict.fromkeys(SIZES, 1)
    first = list(Mixture(datasets, equal, stop="first_empty").batches(1, prefetch=0))
    counts = np.bincount([int(batch["source"][0]) for batch in first])
    assert counts[2] == SIZES["books"] and (counts <= list(SIZES.values())).all()
    everything = list(Mixture(datasets, equal, stop="all_used").batches(1, prefetch=0))
    web = {int(batch["example_id"][0]) for batch in everything if batch["source"][0] == 0}
    assert web == set(range(SIZES["web"])) and everything[-1]["source"][0] == 0
    endless = Mixture(datasets, equal).batches(16)
    assert endless.num_batches is None


def test_a_source_added_later_leaves_the_others_orders_alone(datasets):
    two = Mixture({name: datasets[name] for name in ("web", "code")}, {"web": 1, "code": 1}).batches(64, seed=3)
    three = Mixture(datasets, {"web": 1, "code": 1, "books": 1}).batches(64, seed=3)

    def web(batches, name):
        taken = [batch["example_id"][batch["source"] == 0] for batch, _ in zip(batches, range(6), strict=False)]
        return np.concatenate(taken)[:100].tolist()

    assert web(two, "web") == web(three, "web")


def test_states_of_other_mixtures_are_refused(datasets):
    state = Mixture(datasets, dict.fromkeys(SIZES, 1)).batches(8).get_state()
    with pytest.raises(ManifestError, match="mixture"):
        Mixture(datasets, {"web": 2, "code": 1, "books": 1}).batches(8).set_state(state)
    longer = Mixture(datasets, dict.fromkeys(SIZES, 1), stages=[(10_000, {"web": 1, "code": 1, "books": 0})]).batches(8)
    with pytest.raises(ManifestError, match="mixture"):
        longer.set_state(state)
    longer.set_state(state, allow_changes=True)


def test_what_does_not_fit_together_is_refused(datasets, tmp_path):
    write_dataset(tmp_path / "long", {"train": random_examples(5, 9)})
    with pytest.raises(ConfigError, match="'web' and 'long' do not fit together: seq_len is 8 and 9"):
        Mixture({"web": datasets["web"], "long": load(tmp_path / "long")})
    other = load(datasets["code"].path)
    other.manifest = dataclasses.replace(other.manifest, vocabulary=dataclasses.replace(other.manifest.vocabulary, fingerprint="else"))
    with pytest.raises(ConfigError, match="vocabulary"):
        Mixture({"web": datasets["web"], "other": other})
    Mixture({"web": datasets["web"], "other": other}, same_vocabulary=False)
    for options, message in (
        ({"weights": {"web": 1}}, "weights name"),
        ({"by": "bytes"}, "by must be"),
        ({"budget": 0}, "budget must be"),
        ({"budget": 5, "stop": "all_used"}, "not both"),
        ({"weights": {"web": 0, "code": 0, "books": 0}}, "rates must be at least 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            Mixture(datasets, **options)
    with pytest.raises(ConfigError, match="at least one dataset"):
        Mixture({})


def test_objectives_of_sources_have_seeds_of_their_own(datasets):
    class Seeds:
        def apply(self, arrays, example_ids, *, seed, variant, epoch):
            return {"seed": np.full(len(example_ids), seed % 2**31)}

    batch = next(Mixture(datasets, dict.fromkeys(SIZES, 1)).batches(64, objective=Seeds()))
    seeds = {int(s): set(batch["seed"][batch["source"] == s].tolist()) for s in np.unique(batch["source"])}
    assert all(len(found) == 1 for found in seeds.values()) and len(set.union(*seeds.values())) == 3
