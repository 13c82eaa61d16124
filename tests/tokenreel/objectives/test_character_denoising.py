import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tests.tokenreel.objectives.characters import MASK, PAD, SEP, VOCAB, examples
from tokenreel.errors import ConfigError
from tokenreel.objectives.character_denoising import CharacterDenoising


class TestDenoising:
    def objective(self, seq_len, **settings_):
        return CharacterDenoising(**{"seq_len": seq_len, "vocab_size": VOCAB, "mask_id": MASK, "special_ids": [SEP], **settings_})

    @given(SEEDS, st.integers(5, 60), st.integers(0, 3), st.integers(1, 5))
    def test_laws(self, seed, seq_len, runs, run_length):
        arrays = examples(5, seq_len, seed)
        made_by = self.objective(seq_len, rate=0.1, runs=runs, run_length=run_length)
        made = made_by.apply(arrays, np.arange(5), seed=seed)
        hidden = made["tokens"] == MASK
        np.testing.assert_array_equal(made["targets"], arrays["tokens"])
        np.testing.assert_array_equal(made["tokens"][~hidden], arrays["tokens"][~hidden])
        np.testing.assert_array_equal(made["target_weights"], hidden)
        assert not (hidden & np.isin(arrays["tokens"], [PAD, SEP])).any()
        able = (~np.isin(arrays["tokens"], [PAD, SEP])).sum(axis=1)
        singles = np.array([round(n * 0.1) for n in able.tolist()])
        assert (hidden.sum(axis=1) >= singles).all() and (hidden.sum(axis=1) <= singles + runs * run_length).all()
        single = self.objective(seq_len, rate=0.1, runs=0).apply(arrays, np.arange(5), seed=seed)["tokens"] == MASK
        assert (hidden & single).sum() == single.sum()  # runs come on top, from a stream of their own
        everything = self.objective(seq_len, loss="all").apply(arrays, np.arange(5), seed=seed)["target_weights"]
        np.testing.assert_array_equal(everything, np.arange(seq_len) < arrays["num_tokens"][:, None])

    def test_a_run_stays_in_its_document(self):
        tokens = np.full((400, 12), 5, np.uint16)
        starts = np.zeros((400, 12), bool)
        starts[:, 6] = True
        made_by = self.objective(12, rate=0, runs=1, run_length=4)
        made = made_by.apply({"tokens": tokens, "document_starts": starts}, np.arange(400), seed=0)
        hidden = made["tokens"] == MASK
        assert not (hidden[:, 5] & hidden[:, 6]).any() and set(hidden.sum(axis=1).tolist()) == {1, 2, 3, 4}
        begins = hidden.argmax(axis=1)
        assert (np.abs(np.bincount(begins, minlength=12) - 400 / 12) < 5 * np.sqrt(400 / 12)).all()
        counts = made_by.statistics({"tokens": tokens}, made)
        assert counts["run_lengths"].sum() == 400 and counts["selected"] == hidden.sum() == counts["selected_by_position"].sum()

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"run_length": 99}, "run_length lies between 1 and packing.seq_len = 12, got 1 and 99"),
            ({"rate": 0, "runs": 0}, "both 0: nothing would be hidden"),
            ({"loss": "some"}, "loss must be masked or all"),
            ({"mask_id": 999}, "mask_id must be an id"),
        ],
    )
    def test_impossible_settings(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            self.objective(12, **settings_)
