import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tests.tokenreel.objectives.characters import CHARACTERS, MASK, PAD, SEP, VOCAB, decode, encode, examples
from tokenreel.errors import ConfigError
from tokenreel.objectives.character_denoising import CharacterDenoising
from tokenreel.objectives.typos import EDITS, TypoNoise


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

    @given(SEEDS, st.integers(5, 60), st.sampled_from([{"swap": 0.3}, {"neighbour": 0.4}, {"case": 0.5}, {"swap": 0.2, "case": 0.2}]))
    def test_typos_and_masks_in_one_example(self, seed, seq_len, typing):
        arrays = examples(5, seq_len, seed)
        plain = self.objective(seq_len, rate=0.2).apply(arrays, np.arange(5), seed=seed)
        both = self.objective(seq_len, rate=0.2, characters=CHARACTERS, **typing).apply(arrays, np.arange(5), seed=seed)
        hidden = both["tokens"] == MASK
        np.testing.assert_array_equal(hidden, plain["tokens"] == MASK, "masks are where they are without typos")
        np.testing.assert_array_equal(both["targets"], arrays["tokens"])
        np.testing.assert_array_equal(both["target_weights"], both["tokens"] != arrays["tokens"])
        special = np.isin(arrays["tokens"], [PAD, SEP])
        np.testing.assert_array_equal(both["tokens"][special], arrays["tokens"][special])
        noise = TypoNoise(seq_len=seq_len, vocab_size=VOCAB, characters=CHARACTERS, **{**dict.fromkeys(EDITS, 0.0), **typing})
        draw = self.objective(seq_len)._draw(seed, 0, 0)
        typed = noise._corrupt(arrays["tokens"], arrays["document_starts"], arrays["num_tokens"], np.arange(5), draw)["inputs"]
        np.testing.assert_array_equal(both["tokens"][~hidden], typed[~hidden], "the typos are those of typo_noise")

    def test_typos_by_example(self):
        text = "The quick brown fox jumps over the lazy dog."
        tokens = np.array([encode(text)] * 200, np.uint16)
        made = self.objective(len(text), rate=0, runs=1, run_length=3, characters=CHARACTERS, case=0.1, neighbour=0.1).apply(
            {"tokens": tokens}, np.arange(200), seed=1
        )
        shown = [decode(row.tolist()) for row in made["tokens"]]
        assert all(len(line) == len(text) and 1 <= line.count("?") <= 3 for line in shown) and len(set(shown)) == 200
        wrong = (made["tokens"] != tokens) & (made["tokens"] != MASK)
        share = wrong.sum() / tokens.size
        assert 0.12 < share < 0.2, "a space has no other case, and not every key has neighbours in the vocabulary"

    def test_typos_need_characters(self):
        with pytest.raises(ConfigError, match=r"objective\.swap needs a vocabulary of characters or bytes"):
            self.objective(12, swap=0.1)
        with pytest.raises(ConfigError, match=r"objective\.case"):
            self.objective(12, case=2.0, characters=CHARACTERS)
