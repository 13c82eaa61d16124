"""Hypothesis strategies that several tests share."""

from hypothesis import strategies as st

# Seeds of random bits, and the first of the example ids that go with them.
SEEDS = st.integers(0, 10**6)

# Tokens of each document; documents without any are among them, and some longer than the examples that tests lay out.
LENGTHS = st.lists(st.integers(0, 40), max_size=40)

# Tokens of each sentence of each document; without any too.
SENTENCE_LENGTHS = st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=8)

# UL2's setting `denoisers`, with spans short enough for examples of 16 tokens.
DENOISERS = st.lists(st.sampled_from([0.15, 0.3, 0.5]).map(lambda density: {"density": density, "mean_span": 2.0}), min_size=1, max_size=3)
