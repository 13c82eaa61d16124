import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tests.tokenreel.objectives.examples import EOS, VOCAB, ragged, text
from tokenreel.errors import ConfigError
from tokenreel.objectives.prefix_lm import PrefixLM


class TestPrefixLM:
    @given(SEEDS, st.integers(3, 40), st.booleans())
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

    @given(SEEDS)
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
