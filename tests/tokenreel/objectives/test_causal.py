import numpy as np
import pytest

from tokenreel.errors import BuildError, ConfigError
from tokenreel.objectives.registry import make_objective

VOCABULARY = {"vocab_size": 200, "pad_id": 0}


class TestNextTokens:
    def test_worked_example(self):
        made_by = make_objective("next_tokens", seq_len=6, vocabulary=VOCABULARY, steps=2)
        arrays = {
            "tokens": np.array([[11, 12, 13, 21, 22, 0]]),
            "document_starts": np.array([[1, 0, 0, 1, 0, 0]], bool),
            "num_tokens": np.array([5]),
        }
        made = made_by.apply(arrays, [0], seed=0)
        assert made["targets"][0].tolist() == [[12, 13], [13, 0], [0, 0], [22, 0], [0, 0], [0, 0]]
        assert made["target_weights"][0].tolist() == [[1, 1], [1, 0], [0, 0], [1, 0], [0, 0], [0, 0]]

    def test_overlap_gives_the_last_position_a_target(self):
        made_by = make_objective("next_tokens", seq_len=3, vocabulary=VOCABULARY, steps=2, across_documents=True)
        made = made_by.apply({"tokens": np.array([[11, 12, 13, 14]])}, [0], seed=0)
        assert made["targets"][0].tolist() == [[12, 13], [13, 14], [14, 0]]
        made_by.check_packing(mode="wrap", overlap=1)
        assert made_by.raw_length() == 3 and made_by.takes(4) and not made_by.takes(2)
        with pytest.raises(BuildError, match="takes examples of 3 tokens"):
            made_by.apply({"tokens": np.array([[11, 12]])}, [0], seed=0)

    def test_impossible_settings(self):
        with pytest.raises(ConfigError, match=r"steps must lie between 1 and packing.seq_len - 1 = 5, got 6"):
            make_objective("next_tokens", seq_len=6, vocabulary=VOCABULARY, steps=6)
