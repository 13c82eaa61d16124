from math import comb

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tests.tokenreel.objectives.examples import EOS, VOCAB, text
from tokenreel.objectives import span_corruption
from tokenreel.objectives.noise import noise_counts, noise_to_sentinels, output_lengths, random_spans, solve_raw_length
from tokenreel.objectives.span_corruption import SpanCorruption


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
    @given(SEEDS, st.integers(2, 80), st.sampled_from([0.15, 0.5, 0.9]), st.sampled_from([1.0, 3.0, 8.0]))
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
