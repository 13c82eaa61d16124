import numpy as np
import pytest

from tokenreel.errors import BuildError
from tokenreel.layouts import table, wrapping

SENTENCES = (4, 3, 1, 6, 2, 1, 5, 9, 1, 2)  # fairseq's own example; a lone 1 is a blank line between documents


def test_greedy_is_fairseq_complete():
    heads = table.greedy(np.array(SENTENCES), 8)
    tokens = np.append(0, np.cumsum(SENTENCES))
    assert tokens[heads].tolist() == [0, 8, 16, 22, 31]  # the 9-token sentence makes a longer block


def test_lengths_must_be_counts():
    with pytest.raises(BuildError, match="the least is -1"):
        wrapping.wrap([3, -1], 4)
