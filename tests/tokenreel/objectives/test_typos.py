import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tests.tokenreel.objectives.characters import CHARACTERS, PAD, SEP, VOCAB, decode, encode, examples
from tokenreel.errors import ConfigError
from tokenreel.objectives import typos
from tokenreel.objectives.typos import EDITS, TypoNoise


class TestKeyboard:
    def test_neighbours(self):
        table = typos.keyboard_neighbours(CHARACTERS)

        def near(c):
            return "".join(sorted(decode(table[CHARACTERS.index(c)][table[CHARACTERS.index(c)] >= 0])))

        assert near("s") == "adewxz" and near("S") == "ADEWXZ" and near("q") == "aw" and near("m") == ",jkn"
        assert near(" ") == near("é") == ""
        for own in range(VOCAB):  # neighbourhood is mutual
            for other in table[own][table[own] >= 0]:
                assert (
                    own in table[other]
                    or CHARACTERS[own].isupper() != CHARACTERS[other].isupper()
                    or not CHARACTERS[own].isalpha()
                    or not CHARACTERS[other].isalpha()
                )

    def test_cases(self):
        table = typos.other_case(CHARACTERS)
        assert decode(table[encode("aZ .é")]) == "Az .é"  # É is not in the vocabulary
        assert table[:3].tolist() == [0, 1, 2]


class TestTypos:
    def objective(self, seq_len, **rates):
        return TypoNoise(seq_len=seq_len, vocab_size=VOCAB, characters=CHARACTERS, **{**dict.fromkeys(EDITS, 0.0), **rates})

    def noisy(self, text, seq_len=None, starts=None, n=1, **rates):
        seq_len = seq_len or len(text)
        arrays = {
            "tokens": np.tile(np.array(encode(text) + [PAD] * (seq_len - len(text)), np.uint16), (n, 1)),
            "num_tokens": np.full(n, len(text)),
        }
        if starts is not None:
            arrays["document_starts"] = np.tile(np.isin(np.arange(seq_len), starts), (n, 1))
        return self.objective(seq_len, **rates).apply(arrays, np.arange(n), seed=0)

    def test_swap(self):
        made = self.noisy("abcdefg", swap=1)
        assert decode(made["inputs"][0]) == "badcfeg" and made["edits"].tolist() == [[3, 0, 0, 0, 0]]
        assert decode(self.noisy("abcdefg", starts=[0, 3], swap=1)["inputs"][0]) == "bacedgf"

    def test_drop(self):
        made = self.noisy("abcdef", starts=[0, 3], drop=1)
        assert decode(made["inputs"][0, :2]) == "ad" and made["num_inputs"].tolist() == [2] and (made["inputs"][0, 2:] == PAD).all()
        assert np.flatnonzero(made["input_starts"][0]).tolist() == [0, 1] and made["edits"].tolist() == [[0, 4, 0, 0, 0]]

    def test_insert(self):
        made = self.noisy("q. a", seq_len=10, insert=1)
        text = decode(made["inputs"][0, : made["num_inputs"][0]])
        assert text[0] == "q" and text[1] in "wa" and text[2] == "." and made["num_inputs"][0] in (6, 7)  # a space has no neighbour
        full = self.noisy("asdf", insert=1)  # no room
        assert decode(full["inputs"][0]) == "asdf" and full["edits"].sum() == 0
        one = self.noisy("asdf", seq_len=5, insert=1)
        assert one["num_inputs"][0] == 5 and decode(one["inputs"][0, 2:5]) == "sdf" and one["edits"].tolist() == [[0, 0, 1, 0, 0]]

    def test_neighbour(self):
        made = self.noisy("s" * 600, neighbour=1)
        counts = np.bincount(made["inputs"][0], minlength=VOCAB)
        near = encode("adewxz")
        assert counts[near].sum() == 600 and (np.abs(counts[near] - 100) < 5 * np.sqrt(600 * 5 / 36)).all()

    def test_case(self):
        assert decode(self.noisy("aB c.é", case=1)["inputs"][0]) == "Ab C.é"

    @settings(max_examples=60)
    @given(SEEDS, st.integers(2, 50), st.sampled_from([0.02, 0.2]))
    def test_laws(self, seed, seq_len, rate):
        arrays = examples(5, seq_len, seed)
        made_by = self.objective(seq_len, **dict.fromkeys(EDITS, rate))
        made = made_by.apply(arrays, np.arange(5), seed=seed)
        for name in arrays:
            np.testing.assert_array_equal(made[name], arrays[name])
        _, drops, inserts, *_ = made["edits"].astype(int).T
        np.testing.assert_array_equal(made["num_inputs"], arrays["num_tokens"] - drops + inserts)
        assert (made["num_inputs"] <= seq_len).all()
        np.testing.assert_array_equal(made["input_starts"].sum(axis=1), arrays["document_starts"].sum(axis=1))
        columns = np.arange(seq_len) < made["num_inputs"][:, None]
        assert (made["inputs"][~columns] == PAD).all() and (made["inputs"] == SEP).sum() == (arrays["tokens"] == SEP).sum()
        for row in range(5):  # documents keep to themselves: each has as many characters more or less as it has inserts and drops
            kinds = made["edits"][row].astype(int)
            if kinds.sum() == 0:
                assert made["inputs"][row].tolist() == arrays["tokens"][row].tolist()
        alone = made_by.apply({name: values[1:2] for name, values in arrays.items()}, [1], seed=seed)
        for name in made:
            np.testing.assert_array_equal(alone[name], made[name][1:2])

    def test_rates(self):
        n, length = 300, 400
        tokens = np.array(encode("abcdefghijklmnopqrst"), np.uint16)[np.random.default_rng(0).integers(0, 20, (n, length))]
        arrays = {"tokens": np.pad(tokens, ((0, 0), (0, 100))), "num_tokens": np.full(n, length)}
        made_by = self.objective(length + 100, **dict.fromkeys(EDITS, 0.02))
        counts = made_by.statistics(arrays, made_by.apply(arrays, np.arange(n), seed=0))
        for name in ("drop", "insert", "neighbour", "case"):  # a little less: swapped characters suffer nothing else
            assert abs(counts["edits"][name] / (n * length) - 0.02) < 0.0006 + 5 * np.sqrt(0.02 / (n * length)), name

    @pytest.mark.parametrize(
        ("settings_", "message"),
        [
            ({"swap": 0.6, "drop": 0.6}, "add up to at most 1"),
            ({"drop": 2}, "objective.drop must lie between 0 and 1"),
            ({"characters": ["a"]}, "an entry for each of 59 ids, got 1"),
        ],
    )
    def test_impossible_settings(self, settings_, message):
        with pytest.raises(ConfigError, match=message):
            TypoNoise(**{"seq_len": 10, "vocab_size": VOCAB, "characters": CHARACTERS, **settings_})

    def test_packings_that_cannot_feed_it(self):
        with pytest.raises(ConfigError, match="leave both out"):
            self.objective(10).check_packing(mode="wrap", overlap=1)
