import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel.errors import BuildError, ConfigError
from tokenreel.layouts import filling, wrapping
from tokenreel.objectives import span_corruption
from tokenreel.objectives.noise import noise_counts, noise_to_sentinels, output_lengths, random_spans, solve_raw_length
from tokenreel.objectives.prefix_lm import PrefixLM
from tokenreel.objectives.span_corruption import SpanCorruption
from tokenreel.objectives.ul2 import Denoiser, MixtureOfDenoisers

VOCAB = 1000
EOS = 1


def text(n, length, seed=0):
    return np.random.default_rng(seed).integers(2, 800, (n, length)).astype(np.uint16)


def ragged(n, length, seed=0):
    num_tokens = np.random.default_rng(seed + 1).integers(0, length + 1, n)
    tokens = text(n, length, seed)
    tokens[np.arange(length) >= num_tokens[:, None]] = 0
    return {"tokens": tokens, "num_tokens": num_tokens}


class TestCounts:
    def test_t5_lengths(self):
        """T5's helper at density .15 and mean 3: inputs -> raw tokens, targets."""
        for inputs, raw, targets in [
            (64, 70, 14),
            (114, 126, 26),
            (128, 141, 29),
            (256, 284, 58),
            (512, 568, 114),
            (1024, 1137, 229),
            (2048, 2274, 456),
        ]:
            assert solve_raw_length(inputs, None, 0.15, 3.0) == raw
            made_by = SpanCorruption(seq_len=inputs, vocab_size=VOCAB, eos_id=EOS, num_sentinels=200)
            assert (made_by.raw_length(), made_by.output_shapes()["targets"]) == (raw, ("uint16", (targets,)))
        for mean, raw, targets in [(2.0, 70, 22), (1.0, 63, 27)]:
            assert solve_raw_length(64, None, 0.2, mean) == raw
            assert int(output_lengths(raw, 0.2, mean)[1]) == targets

    def test_t5_noise_and_spans(self):
        table = {
            **{n: (1, 1) for n in range(2, 8)},
            **{10: (2, 1), 16: (2, 1), 17: (3, 1), 30: (4, 1), 50: (8, 3), 64: (10, 3), 100: (15, 5), 128: (19, 6)},
            **{256: (38, 13), 512: (77, 26), 568: (85, 28), 1024: (154, 51)},
        }
        noise, spans = noise_counts(list(table), 0.15, 3.0)
        assert list(zip(noise.tolist(), spans.tolist(), strict=True)) == list(table.values())

    def test_ul2_raw_lengths(self):
        """Tokens that fill 512 and 512 positions, eos included, without mode token."""
        expected = {
            (3, 0.15): (568, 114),
            (8, 0.15): (588, 100),
            (3, 0.5): (766, 512),
            (8, 0.5): (908, 512),
            (64, 0.15): (600, 92),
            (64, 0.5): (1006, 512),
            (32, 0.5): (990, 511),
            (12, 0.5): (944, 512),
        }
        for (mean, density), (raw, targets) in expected.items():
            assert solve_raw_length(512, 512, density, mean) == raw
            assert int(output_lengths(raw, density, mean)[1]) == targets
        for (mean, density), raw in {
            (3, 0.15): 1137,
            (8, 0.15): 1178,
            (3, 0.5): 1534,
            (8, 0.5): 1818,
            (64, 0.15): 1200,
            (64, 0.5): 2014,
        }.items():
            assert solve_raw_length(1024, 1024, density, mean) == raw
        assert int(noise_counts(600, 0.15, 64)[1]) == 1

    @given(st.integers(0, 3000), st.floats(0.01, 0.99), st.floats(1, 100))
    def test_counts_are_possible(self, length, density, mean):
        noise, spans = (int(v) for v in noise_counts(length, round(density, 6), round(mean, 6)))
        if length < 2:
            assert noise == spans == 0
        else:
            assert 1 <= noise < length and 1 <= spans <= min(noise, length - noise)


def test_t5_sentinels():
    """T5's own example: tokens 10 to 15, noise TTFFTF, 1,000 ids."""
    tokens, noise = np.arange(10, 16)[None], np.array([[1, 1, 0, 0, 1, 0]], bool)

    def apply(hidden, step):
        values, keep = noise_to_sentinels(tokens, hidden, 999, step)
        return values[keep].tolist()

    assert apply(noise, -1) == [999, 12, 13, 998, 15] and apply(~noise, -1) == [10, 11, 999, 14, 998]
    assert apply(noise, 0) == [999, 12, 13, 999, 15] and apply(~noise, 0) == [10, 11, 999, 14, 999]


class TestRandomSpans:
    @given(st.integers(0, 10**6), st.integers(2, 80), st.sampled_from([0.15, 0.5, 0.9]), st.sampled_from([1.0, 3.0, 8.0]))
    def test_laws(self, seed, length, density, mean):
        num_tokens = np.random.default_rng(seed).integers(0, length + 1, 8)
        noise, spans = noise_counts(num_tokens, density, mean)
        hidden = random_spans(length, num_tokens, noise, spans, span_corruption.keys.bits(seed, "spans", np.arange(8), length))
        np.testing.assert_array_equal(hidden.sum(axis=1), noise)
        runs = (np.diff(np.pad(hidden.astype(int), ((0, 0), (1, 0)))) == 1).sum(axis=1)
        np.testing.assert_array_equal(runs, spans)
        for row, n in enumerate(num_tokens):
            assert not hidden[row, n:].any()
            if n >= 2:
                assert not hidden[row, 0] and hidden[row, n - 1]

    def test_span_lengths_are_those_of_a_uniform_composition(self):
        n, length, noise, spans = 4000, 568, 85, 28
        size = np.full(n, length)
        hidden = random_spans(length, size, np.full(n, noise), np.full(n, spans), span_corruption.keys.bits(0, "x", np.arange(n), length))
        edges = np.diff(np.pad(hidden.astype(int), ((0, 0), (1, 1))))
        lengths = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]
        pmf = np.array([comb(noise - k - 1, spans - 2) / comb(noise - 1, spans - 1) for k in range(1, 30)])
        np.testing.assert_allclose(pmf[:8], [0.3214, 0.2207, 0.1507, 0.1024, 0.0691, 0.0464, 0.0309, 0.0205], atol=6e-5)
        counts, expected = np.bincount(lengths, minlength=40)[1:16], pmf[:15] * len(lengths)
        assert len(lengths) == n * spans and ((counts - expected) ** 2 / expected).sum() < 15 + 5 * np.sqrt(30)

    def test_every_composition_is_equally_likely(self):
        """3 tokens of noise in 2 spans among 6: two ways to cut the noise times two to cut the text."""
        n = 20_000
        full = np.full(n, 6)
        hidden = random_spans(6, full, np.full(n, 3), np.full(n, 2), span_corruption.keys.bits(1, "x", np.arange(n), 6))
        counts = np.bincount(hidden @ (1 << np.arange(6)))
        counts = counts[counts > 0]
        assert len(counts) == 4 and (np.abs(counts - n / 4) < 5 * np.sqrt(n * 3 / 16)).all()

    def test_positions(self):
        """The first token never is noise, the last always; rolled, all are equally often."""
        n = 4000
        tokens = {"tokens": text(n, 568)}
        made_by = SpanCorruption(seq_len=512, vocab_size=VOCAB, eos_id=EOS)
        hidden = ~kept_in_inputs(made_by, tokens)
        expected = [0, 0.062, 0.098, 0.120, 0.124, 0.131, 0.140, 0.141]
        assert (np.abs(hidden.mean(axis=0)[:8] - expected) < 0.005 + 5 * np.sqrt(0.12 / n)).all() and hidden[:, -1].all()
        assert abs(hidden[:, 200:400].mean() - 0.146) < 0.003
        rolled = SpanCorruption(seq_len=512, vocab_size=VOCAB, eos_id=EOS, roll=True)
        hidden = ~kept_in_inputs(rolled, {"tokens": text(n, rolled.raw_length())})
        assert (np.abs(hidden.mean(axis=0) - 85 / 567) < 5 * np.sqrt(0.15 * 0.85 / n)).all()


def kept_in_inputs(made_by, arrays):
    """Which tokens are in the inputs, from an example in which all tokens differ."""
    n, length = arrays["tokens"].shape
    tokens = np.tile(np.arange(100, 100 + length, dtype=np.uint16), (n, 1))
    wide = type(made_by)(
        **{**{f.name: getattr(made_by, f.name) for f in span_corruption.dataclasses.fields(made_by) if f.init}, "vocab_size": 5000}
    )
    made = wide.apply({"tokens": tokens}, np.arange(n), seed=0)
    kept = np.zeros((n, 5000), bool)
    for column in made["inputs"].T:
        kept[np.arange(n), column] = True
    return kept[:, 100 : 100 + length]


class TestSpanCorruption:
    @settings(max_examples=60)
    @given(
        st.integers(0, 10**6),
        st.integers(8, 60),
        st.sampled_from([0.15, 0.5]),
        st.sampled_from([1.5, 3.0, 8.0]),
        st.booleans(),
        st.booleans(),
    )
    def test_laws(self, seed, seq_len, density, mean, roll, eos):
        made_by = SpanCorruption(seq_len=seq_len, vocab_size=VOCAB, density=density, mean_span=mean, roll=roll, eos_id=EOS if eos else None)
        length = made_by.raw_length()
        arrays = ragged(6, length, seed)
        ids = np.arange(seed, seed + 6)
        made = made_by.apply(arrays, ids, seed=seed)
        assert set(made) == {"inputs", "targets", "num_inputs", "num_targets"}
        noise, spans = noise_counts(arrays["num_tokens"], density, mean)
        np.testing.assert_array_equal(made_by.restore(made), arrays["tokens"])
        for row in range(6):
            inputs = made["inputs"][row, : made["num_inputs"][row]].tolist()
            targets = made["targets"][row, : made["num_targets"][row]].tolist()
            assert (made["inputs"][row, len(inputs) :] == 0).all() and (made["targets"][row, len(targets) :] == 0).all()
            if eos:
                assert inputs.pop() == targets.pop() == EOS
            marks = [t for t in inputs if t >= 900]
            assert marks == [t for t in targets if t >= 900] == [999 - k for k in range(len(marks))]
            assert len(marks) - spans[row] in ((0, 1) if roll else (0,))
            assert len(inputs) + len(targets) == arrays["num_tokens"][row] + 2 * len(marks)
            assert len(targets) == noise[row] + len(marks)
            assert not targets or targets[0] == 999
        alone = made_by.apply({name: values[3:4] for name, values in arrays.items()}, ids[3:4], seed=seed)
        for name in made:
            np.testing.assert_array_equal(alone[name], made[name][3:4])

    def test_targets_are_those_of_t5(self):
        """T5 makes targets by the same function on the inverted noise; without roll the two are the same."""
        made_by = SpanCorruption(seq_len=64, vocab_size=VOCAB)
        tokens = np.tile(np.arange(100, 100 + made_by.raw_length(), dtype=np.uint16), (50, 1))
        made = made_by.apply({"tokens": tokens}, np.arange(50), seed=0)
        hidden = np.array([~np.isin(t, i) for t, i in zip(tokens, made["inputs"], strict=True)])
        for row in range(50):
            values, keep = noise_to_sentinels(tokens[row : row + 1], ~hidden[row : row + 1], 999)
            assert values[keep].tolist() == made["targets"][row, : made["num_targets"][row]].tolist()

    def test_nothing_is_padded(self):
        made_by = SpanCorruption(seq_len=512, vocab_size=VOCAB, eos_id=EOS)
        made = made_by.apply({"tokens": text(10, 568)}, np.arange(10), seed=0)
        assert (made["num_inputs"] == 512).all() and (made["num_targets"] == 114).all()
        counts = made_by.statistics({"tokens": text(10, 568)}, made)
        assert counts["spans"] == 280 and counts["noise_tokens"] == 850 and counts["cropped_tokens"] == 0
        assert counts["span_lengths"] @ np.arange(129) == 850 and counts["span_lengths"].sum() == 280

    def test_variants_differ(self):
        made_by = SpanCorruption(seq_len=64, vocab_size=VOCAB)
        arrays = {"tokens": text(20, made_by.raw_length())}
        made = [
            made_by.apply(arrays, np.arange(20), seed=s, variant=v, epoch=e)["inputs"]
            for s, v, e in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
        ]
        assert all((made[i] != made[j]).any(axis=1).all() for i in range(4) for j in range(i))

    def test_one_sentinel_for_all(self):
        made_by = SpanCorruption(seq_len=64, vocab_size=VOCAB, sentinel_step=0, num_sentinels=1)
        made = made_by.apply({"tokens": text(5, made_by.raw_length())}, np.arange(5), seed=0)
        assert ((made["inputs"] == 999).sum(axis=1) == 4).all() and not np.isin(made["inputs"], [998]).any()
        with pytest.raises(NotImplementedError, match="one and the same sentinel"):
            made_by.restore(made)

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"density": 1.0}, "density must lie between 0 and 1, both excluded"),
            ({"mean_span": 0.5}, "mean_span must be at least 1 token, got 0.5"),
            (
                {"targets_length": 2, "eos_id": EOS},
                "cannot fill 512 input and 2 target positions.*packing.seq_len 3 and objective.targets_length 3 or more",
            ),
            ({"num_sentinels": 20}, "makes 28 spans in 568 tokens, the vocabulary has 20 sentinels. Use a mean span of 4.2 or more"),
            ({"sentinel_step": 1}, "from 999 would end at 1098, outside"),
            ({"eos_id": 1000}, "eos_id must be an id"),
            ({"sentinel_step": 2}, "must be -1, 0 or 1"),
            ({"num_sentinels": 0}, "num_sentinels must be at least 1"),
        ],
    )
    def test_impossible_settings(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            SpanCorruption(**{"seq_len": 512, "vocab_size": VOCAB, "eos_id": EOS, **settings_})

    def test_the_numbers_that_an_error_offers_work(self):
        SpanCorruption(seq_len=3, vocab_size=VOCAB, eos_id=EOS, targets_length=3)
        SpanCorruption(seq_len=512, vocab_size=VOCAB, eos_id=EOS, num_sentinels=20, mean_span=4.3)

    def test_packings_that_cannot_feed_it(self):
        made_by = SpanCorruption(seq_len=64, vocab_size=VOCAB)
        made_by.check_packing(mode="wrap")
        with pytest.raises(ConfigError, match=r"packing\.overlap = 1"):
            made_by.check_packing(mode="wrap", overlap=1)
        with pytest.raises(ConfigError, match=r"packing\.align = 4"):
            made_by.check_packing(mode="best_fit", align=4)


class TestUL2:
    def ul2(self, **settings_):
        return MixtureOfDenoisers(
            **{"seq_len": 512, "vocab_size": VOCAB, "eos_id": EOS, "num_sentinels": 140, "r_id": 2, "s_id": 3, "x_id": 4, **settings_}
        )

    def test_nothing_is_padded_when_the_stream_is_cut_for_it(self):
        made_by = self.ul2(r_id=None, s_id=None, x_id=None)
        ids = np.arange(300)
        raw = made_by.raw_lengths(ids, seed=5)
        which = made_by.choose(ids, seed=5)
        expected = {0: 568, 1: 588, 2: 680, 3: 766, 4: 908, 5: 600, 6: 1006}
        assert all(raw[which == k].tolist() == [n] * (which == k).sum() for k, n in expected.items())
        lengths = np.random.default_rng(0).integers(1, 2000, 400)
        tokens = text(1, lengths.sum())[0]
        layout = wrapping.wrap_cuts(lengths, 0, np.append(0, np.cumsum(raw)))
        filled, starts, num_tokens = filling.fill(tokens, np.cumsum(lengths) - lengths, layout, made_by.raw_length(), 0)
        np.testing.assert_array_equal(num_tokens, raw)
        arrays = {"tokens": filled, "document_starts": starts, "num_tokens": num_tokens}
        made = made_by.apply(arrays, ids, seed=5)
        np.testing.assert_array_equal(made["denoiser"], which)
        assert (made["num_inputs"] == 512).all()
        np.testing.assert_array_equal(made_by.restore(made), filled)
        targets = {0: 114, 1: 100, 2: 172, 3: 512, 4: 512, 5: 92, 6: 512}
        assert all((made["num_targets"][which == k] == n).all() for k, n in targets.items())
        counts = made_by.statistics(arrays, made)
        assert counts["denoisers"].sum() == 300 and counts["cropped_tokens"] == 0

    def test_mode_tokens_and_prefix_lm(self):
        made_by = self.ul2()
        ids = np.arange(200)
        arrays = {"tokens": text(200, made_by.raw_length()) + 3}
        made = made_by.apply(arrays, ids, seed=1)
        modes = np.array([2, 2, 3, 4, 4, 4, 4])
        np.testing.assert_array_equal(made["inputs"][:, 0], modes[made["denoiser"]])
        for row in np.flatnonzero(made["denoiser"] == 2):  # one span at the end
            inputs = made["inputs"][row, 1 : made["num_inputs"][row] - 1].tolist()
            targets = made["targets"][row, : made["num_targets"][row] - 1].tolist()
            assert (
                inputs[-1] == targets[0] == 999
                and inputs[:-1] + targets[1:] == arrays["tokens"][row, : len(inputs) + len(targets) - 2].tolist()
            )
        counts = made_by.statistics(arrays, made)  # examples of one length are cropped to what their denoiser takes
        assert counts["cropped_tokens"] == 200 * made_by.raw_length() - made_by.raw_lengths(ids, seed=1).sum() > 0

    def test_denoisers_are_equally_likely(self):
        counts = np.bincount(self.ul2().choose(np.arange(70_000), seed=0), minlength=7)
        assert (np.abs(counts - 10_000) < 5 * np.sqrt(70_000 * 6 / 49)).all()
        weighted = self.ul2(
            r_id=None,
            s_id=None,
            x_id=None,
            denoisers=[{"density": 0.15, "mean_span": 3.0, "weight": 3}, Denoiser(density=0.5, mean_span=None)],
        )
        counts = np.bincount(weighted.choose(np.arange(40_000), seed=0), minlength=2)
        assert abs(counts[0] - 30_000) < 5 * np.sqrt(40_000 * 3 / 16)

    @settings(max_examples=30)
    @given(st.integers(0, 10**6), st.integers(20, 60))
    def test_short_examples(self, seed, seq_len):
        made_by = self.ul2(seq_len=seq_len)
        arrays = ragged(8, made_by.raw_length(), seed)
        arrays["tokens"][arrays["tokens"] > 0] += 5
        ids = np.arange(8)
        arrays["num_tokens"] = np.minimum(arrays["num_tokens"], made_by.raw_lengths(ids, seed=seed))
        arrays["tokens"][np.arange(made_by.raw_length()) >= arrays["num_tokens"][:, None]] = 0
        np.testing.assert_array_equal(made_by.restore(made_by.apply(arrays, ids, seed=seed)), arrays["tokens"])

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"s_id": None}, "give every denoiser a mode_id, or none"),
            ({"denoisers": []}, "at least one denoiser"),
            ({"denoisers": [{"density": 0.5, "spans": 3}]}, "the settings density, mean_span, mode_id, weight: .*spans"),
            ({"num_sentinels": 100}, "makes 127 spans in 765 tokens, the vocabulary has 100 sentinels"),
            ({"targets_length": 2}, "cannot fill 511 input and 2 target positions"),
        ],
    )
    def test_impossible_settings(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            self.ul2(**settings_)


class TestPrefixLM:
    @given(st.integers(0, 10**6), st.integers(3, 40), st.booleans())
    def test_encoder_decoder(self, seed, seq_len, eos):
        made_by = PrefixLM(seq_len=seq_len, vocab_size=VOCAB, form="encoder_decoder", eos_id=EOS if eos else None)
        arrays = ragged(6, made_by.raw_length(), seed)
        made = made_by.apply(arrays, np.arange(6), seed=seed)
        np.testing.assert_array_equal(made_by.restore(made), arrays["tokens"])
        for row, length in enumerate(arrays["num_tokens"]):
            first, second = int(made["num_inputs"][row]) - eos, int(made["num_targets"][row]) - eos
            assert first + second == length and (length < 2 or (first >= 1 and second >= 1))

    def test_overlap(self):
        made_by = PrefixLM(seq_len=8, vocab_size=VOCAB)
        made_by.check_packing(mode="wrap", overlap=1)
        mask = made_by.apply({"tokens": text(500, 9)}, np.arange(500), seed=0)["prefix_mask"]
        assert mask.shape == (500, 8) and set(mask.sum(axis=1).tolist()) == set(range(1, 9))  # the last token may be all that is predicted
        with pytest.raises(ConfigError, match="has no use for the token"):
            PrefixLM(seq_len=8, vocab_size=VOCAB, form="encoder_decoder").check_packing(mode="wrap", overlap=1)

    def test_splits_are_uniform(self):
        made_by = PrefixLM(seq_len=8, vocab_size=VOCAB)
        made = made_by.apply({"tokens": text(14_000, 8)}, np.arange(14_000), seed=0)
        counts = np.bincount(made["prefix_mask"].sum(axis=1), minlength=9)
        assert counts[0] == counts[8] == 0 and (np.abs(counts[1:8] - 2000) < 5 * np.sqrt(14_000 * 6 / 49)).all()

    @given(st.integers(0, 10**6))
    def test_each_document_has_a_prefix(self, seed):
        rng = np.random.default_rng(seed)
        starts = rng.random((5, 30)) < 0.2
        num_tokens = rng.integers(0, 31, 5)
        made = PrefixLM(seq_len=30, vocab_size=VOCAB).apply(
            {"tokens": text(5, 30), "document_starts": starts, "num_tokens": num_tokens}, np.arange(5), seed=seed
        )
        for row in range(5):
            bounds = [0, *np.flatnonzero(starts[row, 1 : num_tokens[row]]) + 1, num_tokens[row]]
            for a, b in itertools.pairwise(bounds):
                prefix = made["prefix_mask"][row, a:b]
                assert (np.diff(prefix.astype(int)) <= 0).all()
                assert b - a < 2 or 1 <= prefix.sum() < b - a
            assert not made["prefix_mask"][row, num_tokens[row] :].any()

    def test_impossible_settings(self):
        with pytest.raises(ConfigError, match=r"must be decoder or encoder_decoder"):
            PrefixLM(seq_len=8, vocab_size=VOCAB, form="both")
        with pytest.raises(ConfigError, match=r"packing\.seq_len must be at least 3, got 2"):
            PrefixLM(seq_len=2, vocab_size=VOCAB, form="encoder_decoder", eos_id=1)
        with pytest.raises(ConfigError, match=r"packing\.align is 2"):
            PrefixLM(seq_len=8, vocab_size=VOCAB).check_packing(mode="best_fit", align=2)


def test_examples_longer_than_planned_are_refused():
    with pytest.raises(BuildError, match="lay documents out for the raw length"):
        SpanCorruption(seq_len=64, vocab_size=VOCAB).apply({"tokens": text(1, 64)}, [0], seed=0)
