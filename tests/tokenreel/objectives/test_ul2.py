import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tests.tokenreel.objectives.examples import EOS, VOCAB, ragged, text
from tokenreel.errors import ConfigError
from tokenreel.layouts import filling, wrapping
from tokenreel.objectives.ul2 import Denoiser, MixtureOfDenoisers


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

    def test_nothing_is_lost_of_examples_that_every_denoiser_takes(self):
        made_by = self.ul2(r_id=None, s_id=None, x_id=None)
        assert (made_by.even_length(), made_by.raw_length()) == (568, 1006)
        assert made_by.takes(568) and made_by.takes(1006) and not made_by.takes(600)
        arrays = {"tokens": text(200, 568) + 3}
        made = made_by.apply(arrays, np.arange(200), seed=1)
        assert made_by.statistics(arrays, made)["cropped_tokens"] == 0 and len(set(made["denoiser"].tolist())) == 7
        np.testing.assert_array_equal(made_by.restore(made)[:, :568], arrays["tokens"])

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
    @given(SEEDS, st.integers(20, 60))
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
