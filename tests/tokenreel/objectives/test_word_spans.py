import numpy as np
import pytest

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.objectives import word_spans


def test_spanbert_lengths():
    """Truncated, not clipped: P(10) is .0301 and the mean 3.797, where clipping gives .134 and 4.463."""
    pmf = np.array([0.2 * 0.8**n for n in range(10)])
    pmf /= pmf.sum()
    np.testing.assert_allclose(pmf, [0.2241, 0.1792, 0.1434, 0.1147, 0.0918, 0.0734, 0.0587, 0.0470, 0.0376, 0.0301], atol=5e-5)
    drawn = keys.pick(keys.bits(0, "lengths", np.arange(60_000), 1)[:, 0], word_spans.geometric(0.2, 10))
    counts = np.bincount(drawn, minlength=10)
    assert ((counts - 60_000 * pmf) ** 2 / (60_000 * pmf)).sum() < 9 + 5 * np.sqrt(18)
    assert abs((drawn + 1).mean() - 3.7971) < 5 * drawn.std() / np.sqrt(60_000)


def test_ngram_lengths():
    for limit, pmf, mean in [(3, [0.54545, 0.27273, 0.18182], 1.636), (5, [0.43796, 0.21898, 0.14599, 0.10949, 0.08759], 2.190)]:
        weights = word_spans.one_over_n(limit)
        shares = np.array([float(w / sum(weights)) for w in weights])
        np.testing.assert_allclose(shares, pmf, atol=1e-5)
        assert abs((shares * np.arange(1, limit + 1)).sum() - mean) < 1e-3


def test_word_starts():
    assert word_spans.word_starts(["\u2581a", "b", "\u2581", "<0x0A>"], "sentencepiece").tolist() == [True, False, True, False]
    assert word_spans.word_starts(["\u0120a", "b"], "byte_bpe").tolist() == [True, False]
    with pytest.raises(ConfigError, match="must be one of sentencepiece, wordpiece, byte_bpe, got 'bpe'"):
        word_spans.word_starts([], "bpe")
