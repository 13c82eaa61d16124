import itertools
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.loaders.order.lanes import LaneOrder, Lanes
from tokenreel.loaders.order.permutation import Permutation, permute, unpermute
from tokenreel.loaders.order.plan import ALL_USED, FIRST_EMPTY, ORDER_VERSION, Plan, batch_rows
from tokenreel.loaders.order.stages import MixtureStage, integer_weights

GOLDEN = pathlib.Path(__file__).parents[3] / "golden" / "order.json"


def golden_values() -> dict[str, object]:
    """What resumed runs rely on. A change here is a change of the order: it needs a new ORDER_VERSION and new golden values."""
    mixed = Plan(
        ["web", "code", "books"],
        [1000, 300, 77],
        seed=11,
        stages=[MixtureStage(weights=(5, 3, 1)), MixtureStage(start=3000, weights=(1, 0, 4))],
        skip=[(100, 150), (2990, 3010)],
    )
    samples = np.arange(2900, 3000)
    located = mixed.locate(samples)
    lanes = Plan([""], [997], seed=5, shuffle=Lanes(lanes=4, mix=2, block=10))
    return {
        "version": ORDER_VERSION,
        "permutations": {
            f"{n}/{key}": Permutation(n, key)(np.arange(16) * (n // 16 or 1) % n).tolist()
            for n in (1, 2, 7, 256, 257, 1000, 65_536, 1_000_003, 10**12 + 39, 1 << 62)
            for key in (0, 1, 2**64 - 1)
        },
        "single": Plan([""], [1000], seed=3).locate(np.arange(990, 1030)).example.tolist(),
        "mixture": {
            "source": located.source.tolist(),
            "epoch": located.epoch.tolist(),
            "example": located.example.tolist(),
        },
        "lanes": lanes.locate(np.r_[0:40, 950:1010]).example.tolist(),
        "rows": batch_rows(12, Lanes(lanes=4, mix=2, block=10)).tolist(),
    }


def test_golden():
    assert golden_values() == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 16, 255, 256, 257, 258, 289, 1000, 4097, 65_537])
def test_permutation_is_a_bijection_with_its_inverse(n):
    for key in (0, 1, keys.key("another")):
        permutation = Permutation(n, key)
        values = permutation(np.arange(n))
        assert np.array_equal(np.sort(values), np.arange(n))
        assert np.array_equal(permutation.inverse(values), np.arange(n))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1 << 62), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_permutation_of_any_size_inverts(n, key, positions):
    positions = np.array(positions, dtype=np.int64) % n
    values = Permutation(n, key)(positions)
    assert values.min() >= 0 and values.max() < n
    assert np.array_equal(Permutation(n, key).inverse(values), positions)
    assert len(np.unique(values)) == len(np.unique(positions))


def test_keys_of_their_own_agree_with_one_key():
    own = keys.mix(np.arange(2000, dtype=np.uint64))
    values = permute(np.arange(2000) % 700, 700, own)
    expected = [Permutation(700, int(key))(np.array([i % 700]))[0] for i, key in enumerate(own)]
    assert values.tolist() == expected
    assert np.array_equal(unpermute(values, 700, own), np.arange(2000) % 700)


def test_permutation_refuses_what_is_outside():
    with pytest.raises(ValueError, match="got 0"):
        Permutation(0, 1)
    for n in (5, 5000):
        for wrong in (-1, n):
            with pytest.raises(IndexError, match="below"):
                Permutation(n, 1)([wrong])
            with pytest.raises(IndexError, match="below"):
                Permutation(n, 1).inverse([wrong])


def test_small_permutations_are_uniform():
    for n, count in ((3, 6), (4, 24)):
        seen = np.array([Permutation(n, key)(np.arange(n)) @ (n ** np.arange(n)) for key in range(count * 200)])
        _, counts = np.unique(seen, return_counts=True)
        chi2 = ((counts - 200) ** 2 / 200).sum()
        assert len(counts) == count and chi2 < count - 1 + 4 * np.sqrt(2 * (count - 1))


@pytest.mark.parametrize("n", [40_000, 262_144, 1_000_003])
def test_permutation_mixes_like_a_random_one(n):
    values = Permutation(n, keys.key("quality", n))(np.arange(n))
    batches = values[: n // 64 * 64].reshape(-1, 64)
    for modulus in (2, 3, 16):  # sources interleaved in the file: their share of a batch spreads as the binomial says
        share = 1 / modulus
        ratio = (batches % modulus == 0).mean(axis=1).std() / np.sqrt(share * (1 - share) / 64)
        assert 0.9 < ratio < 1.1
    serial = np.corrcoef(values[:-1], values[1:])[0, 1] * np.sqrt(n)
    assert abs(serial) < 4
    counts = np.bincount(np.diff(values) % 16, minlength=16)
    z = (((counts - (n - 1) / 16) ** 2) / ((n - 1) / 16)).sum()
    assert abs(z - 15) / np.sqrt(30) < 4


@pytest.mark.parametrize(
    ("n", "lanes", "mix", "block"), [(1000, 4, 3, 10), (997, 4, 2, 10), (50, 8, 2, 10), (7, 1, 1, 3), (640, 32, 4, 5), (1, 1, 1, 1)]
)
def test_lane_order_is_a_bijection_with_its_inverse(n, lanes, mix, block):
    lane_order = LaneOrder(n, 99, Lanes(lanes=lanes, mix=mix, block=block))
    values = lane_order(np.arange(n))
    assert np.array_equal(np.sort(values), np.arange(n))
    assert np.array_equal(lane_order.inverse(values), np.arange(n))


def test_a_lane_reads_each_of_its_blocks_once():
    lanes = Lanes(lanes=8, mix=3, block=16)
    n = 8 * 16 * 10 + 5
    lane_order = LaneOrder(n, 1, lanes)
    blocks = lane_order(np.arange(lane_order.main)) // lanes.block
    owners = {}
    for position, block in enumerate(blocks.tolist()):
        assert owners.setdefault(block, position % 8) == position % 8
    for lane in range(8):
        own = blocks[lane::8]
        runs = [np.flatnonzero(own == block) for block in np.unique(own)]
        assert all(run[-1] - run[0] < lanes.mix * lanes.block for run in runs)  # a block stays open no longer than its group


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_hosts_share_no_block_of_the_lanes(hosts, batch_size):
    lanes = Lanes(lanes=16, mix=2, block=8)
    plan = Plan([""], [16 * 8 * 6], seed=1, shuffle=lanes)
    rows = batch_rows(batch_size, lanes)
    assert sorted(rows.tolist()) == list(range(batch_size))
    blocks = [set() for _ in range(hosts)]
    for start in range(0, 16 * 8 * 6, batch_size):
        located = plan.locate(start + rows)
        for host, own in enumerate(np.split(located.example // 8, hosts)):
            blocks[host].update(own.tolist())
    assert sum(map(len, blocks)) == 16 * 6  # read amplification 1


def test_every_example_once_per_epoch_and_epochs_differ():
    plan = Plan(["a"], [1237], seed=4)
    epochs = [plan.locate(np.arange(e * 1237, (e + 1) * 1237)) for e in range(3)]
    for number, epoch in enumerate(epochs):
        assert np.array_equal(np.sort(epoch.example), np.arange(1237)) and (epoch.epoch == number).all()
    assert not np.array_equal(epochs[0].example, epochs[1].example)
    other_seed = Plan(["a"], [1237], seed=5).locate(np.arange(1237)).example
    assert not any(np.array_equal(other_seed, epoch.example) for epoch in epochs)  # neighbouring seeds share no epoch


def test_stored_order():
    located = Plan(["a"], [5], seed=4, shuffle=False).locate(np.arange(12))
    assert located.example.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1] and located.epoch.tolist() == [0] * 5 + [1] * 5 + [2] * 2


def mixture(**options):
    options = {"seed": 7, "stages": [MixtureStage(weights=(6, 3, 1))]} | options
    return Plan(["a", "b", "c"], [5000, 700, 90], **options)


def test_random_access_equals_sequential_access():
    plan = mixture(stages=[MixtureStage(weights=(6, 3, 1)), MixtureStage(start=2500, weights=(1, 1, 8))])
    whole = plan.locate(np.arange(6000))
    shuffled = np.random.default_rng(0).permutation(6000)
    some = plan.locate(shuffled)
    for name in ("source", "epoch", "example"):
        assert np.array_equal(getattr(whole, name)[shuffled], getattr(some, name))
        assert np.array_equal(getattr(whole, name)[:10], getattr(plan.locate(np.arange(10)), name))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40), st.integers(0, 10**6))
def test_counts_are_less_than_one_from_the_ideal_at_block_edges(weights, block):
    stage = MixtureStage(weights=tuple(weights))
    counts, following = stage.counts_at_edge(block), stage.counts_at_edge(block + 1)
    assert sum(counts) == block * stage.block
    for count, after, weight in zip(counts, following, weights, strict=True):
        assert abs(count * sum(weights) - block * stage.block * weight) < sum(weights)
        assert after >= count


def test_mixture_counts_and_epochs_are_exact():
    plan = mixture()
    located = plan.locate(np.arange(20 * 1024))
    for edge in range(1024, 20 * 1024 + 1, 1024):
        counts = np.bincount(located.source[:edge], minlength=3)
        assert (abs(counts - edge * np.array([0.6, 0.3, 0.1])) < 1).all()
        assert counts.tolist() == plan.counts_before(edge)
    for cut in (1, 100, 1025, 5000):
        assert np.bincount(located.source[:cut], minlength=3).tolist() == plan.counts_before(cut)
    for source, n in enumerate(plan.examples):
        taken = located.example[located.source == source]
        for start in range(0, len(taken) - n + 1, n):  # each source's epochs are whole and in order, wherever blocks end
            assert np.array_equal(np.sort(taken[start : start + n]), np.arange(n))


def test_a_later_stage_leaves_the_earlier_part_alone():
    plain = mixture().locate(np.arange(4000))
    staged_plan = mixture(
        stages=[MixtureStage(weights=(6, 3, 1)), MixtureStage(start=3333, weights=(0, 1, 9)), MixtureStage(start=8000, weights=(1, 0, 0))]
    )
    staged = staged_plan.locate(np.arange(12_000))
    assert np.array_equal(plain.source[:3333], staged.source[:3333]) and np.array_equal(plain.example[:3333], staged.example[:3333])
    assert (abs(np.bincount(staged.source[3333 : 3333 + 4096], minlength=3) - 4096 * np.array([0, 0.1, 0.9])) < 1).all()
    assert (staged.source[8000:] == 0).all()
    for source, n in enumerate(staged_plan.examples):
        taken = staged.example[staged.source == source]
        for start in range(0, len(taken) - n + 1, n):
            assert np.array_equal(np.sort(taken[start : start + n]), np.arange(n))


def test_skipped_ranges_are_removed_and_nothing_else():
    plain = mixture().locate(np.arange(9000))
    skip = [(10, 20), (15, 40), (1000, 1500), (8990, 8999)]
    plan = mixture(skip=skip)
    kept = np.setdiff1d(np.arange(9000), np.r_[10:40, 1000:1500, 8990:8999])
    located = plan.locate(np.arange(len(kept)))
    assert np.array_equal(plan.stream_positions(np.arange(len(kept))), kept)
    assert np.array_equal(located.example, plain.example[kept]) and np.array_equal(located.source, plain.source[kept])
    samples = {position: sample for sample, position in enumerate(kept.tolist())}
    for position in range(9000):
        assert plan.delivered_before(position) == np.searchsorted(kept, position)
        assert plan.skipped.sample_at(position) == samples.get(position)


@pytest.mark.parametrize("shuffle", [True, False, Lanes(lanes=4, mix=2, block=7)])
def test_inverse(shuffle):
    plan = mixture(
        shuffle=shuffle,
        stages=[MixtureStage(weights=(6, 3, 1)), MixtureStage(start=3333, weights=(0, 1, 9))],
        skip=[(50, 60), (4000, 4100)],
        stop=9000,
    )
    located = plan.locate(np.arange(len(plan)))
    rng = np.random.default_rng(1)
    for source in range(3):
        for example in rng.integers(0, plan.examples[source], 15).tolist():
            here = np.flatnonzero((located.source == source) & (located.example == example))
            assert [sample for _, sample in plan.find(source, example)] == here.tolist()
            assert [epoch for epoch, _ in plan.find(source, example)] == located.epoch[here].tolist()


def test_inverse_on_a_thousand_million_examples():
    plan = Plan(["a", "b"], [10**9, 10**8], seed=1, stages=[MixtureStage(weights=(9, 1))])
    samples = np.random.default_rng(2).integers(0, 10**10, 100)
    located = plan.locate(samples)
    for sample, source, epoch, example in zip(
        samples.tolist(), located.source.tolist(), located.epoch.tolist(), located.example.tolist(), strict=True
    ):
        assert next(plan.find(source, example, first_epoch=epoch)) == (epoch, sample)


def test_stop_rules_are_exact():
    first = mixture(stop=FIRST_EMPTY)
    located = first.locate(np.arange(len(first)))
    counts = np.bincount(located.source, minlength=3)
    assert located.epoch.max() == 0 and any(count == n for count, n in zip(counts, first.examples, strict=True))
    assert mixture().locate([len(first)]).epoch[0] == 1  # the very next sample would repeat
    everything = mixture(stop=ALL_USED)
    located = everything.locate(np.arange(len(everything)))
    for source, n in enumerate(everything.examples):
        assert len(np.unique(located.example[located.source == source])) == n
    short = everything.locate(np.arange(len(everything) - 1))
    assert any(len(np.unique(short.example[short.source == s])) < n for s, n in enumerate(everything.examples))
    assert len(mixture(stop=123)) == 123
    assert len(mixture(stop=123, skip=[(100, 110), (120, 500)])) == 110
    assert len(Plan(["a"], [10], seed=0, stop=ALL_USED, epochs=3)) == 30
    with pytest.raises(TypeError, match="never stops"):
        len(mixture())
    with pytest.raises(IndexError, match="0 to 122"):
        mixture(stop=123).locate([123])
    with pytest.raises(ConfigError, match="'a' is never used up"):
        mixture(stages=[MixtureStage(weights=(1, 1, 1)), MixtureStage(start=100, weights=(0, 1, 1))], stop=ALL_USED)


def test_every_sample_once_for_any_sequence_of_hosts_and_batch_sizes():
    plan = mixture(stop=5000)
    expected = plan.locate(np.arange(5000))
    cursor, seen = 0, []
    for hosts, batch_size in itertools.cycle([(4, 96), (8, 48), (3, 192), (1, 7)]):
        if cursor + batch_size > 5000:
            break
        rows = [plan.locate(cursor + own).example for own in np.array_split(np.arange(batch_size), hosts)]
        seen.append(np.concatenate(rows))
        cursor += batch_size
    assert np.array_equal(np.concatenate(seen), expected.example[:cursor])


def test_integer_weights():
    assert integer_weights([0.7, 0.2, 0.1]) == (7, 2, 1)
    assert integer_weights([1, 2, 0]) == (1, 2, 0)
    assert integer_weights([1e-3, 1]) == (1, 1000)
    for wrong in ([], [0, 0], [-1, 2], [float("nan")], [float("inf"), 1]):
        with pytest.raises(ConfigError, match="rates"):
            integer_weights(wrong)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="different names"):
        Plan(["a", "a"], [1, 1], seed=0)
    with pytest.raises(ConfigError, match="holds 0"):
        Plan(["a"], [0], seed=0)
    with pytest.raises(ConfigError, match="in order"):
        mixture(stages=[MixtureStage(start=5, weights=(1, 1, 1))])
    with pytest.raises(ConfigError, match="weighs each"):
        mixture(stages=[MixtureStage(weights=(1, 1))])
    with pytest.raises(ConfigError, match="less than one example"):
        MixtureStage(weights=(1, 10**9))
    with pytest.raises(ConfigError, match="skipped range"):
        mixture(skip=[(5, 5)])
    with pytest.raises(ConfigError, match="lanes"):
        Lanes(lanes=0)
    with pytest.raises(ConfigError, match="stop is"):
        mixture(stop="whenever")
    with pytest.raises(IndexError, match="0 to 4,999"):
        next(mixture().find(0, 5000))


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden_values(), indent=None, separators=(",", ":"), sort_keys=True) + "\n")
