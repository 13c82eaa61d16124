import itertools
import json
import pathlib

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.order.permutation import Permutation
from tokenreel.loaders.order.plan import ALL_USED, FIRST_EMPTY, ORDER_VERSION, Plan, batch_rows
from tokenreel.loaders.order.stages import MixtureStage

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
