from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenreel.curation import quality

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=30)


@given(words=WORDS, n=st.integers(1, 4))
def test_ngram_shares_by_definition(words: list[str], n: int) -> None:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    covered: set[int] = set()
    for i, gram in enumerate(grams):
        if gram in grams[:i]:
            covered.update(range(i, i + n))
    total = sum(map(len, words))
    assert quality.repeated_ngram_share(words, n) == (sum(len(words[i]) for i in covered) / total if total else 0)
    most = max((grams.count(gram) for gram in grams), default=0)
    longest = max((sum(map(len, gram)) for gram in grams if grams.count(gram) == most), default=0)
    assert quality.top_ngram_share(words, n) == (longest * most / total if most > 1 else 0)
