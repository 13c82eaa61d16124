import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SENTENCE_LENGTHS
from tests.tokenreel.layouts.laws import check_conservation, check_fill, lengths_of, rows
from tokenreel.errors import BuildError
from tokenreel.layouts import whole_sentences


class TestFullSentences:
    SENTENCES = (4, 3, 1, 6, 2, 1, 5, 9, 1, 2)  # fairseq's own example; a lone 1 is a blank line between documents

    def test_ours_keeps_to_the_block(self):
        layout = whole_sentences.full_sentences(self.SENTENCES, [3, 3, 3, 1], 8)
        assert [sum(row) for row in lengths_of(layout)] == [8, 8, 6, 8, 4]
        assert rows(layout)[2] == [(1, 8, 1), (2, 0, 5)] and rows(layout)[4] == [(2, 13, 2), (3, 0, 2)]

    def test_fairseq_complete_doc(self):
        # Blank lines belong to no document there; ranges (0,7) (8,16) (17,22) (22,31) (32,34), with a block of 9 to keep its long one.
        layout = whole_sentences.full_sentences([4, 3, 6, 2, 5, 9, 2], [2, 2, 2, 1], 9, cross_documents=False, min_tokens=2)
        assert [sum(row) for row in lengths_of(layout)] == [7, 8, 5, 9, 2]

    @given(SENTENCE_LENGTHS, st.integers(1, 12), st.booleans(), st.integers(1, 4))
    def test_laws(self, sentences, seq_len, cross_documents, min_tokens):
        flat = [n for document in sentences for n in document]
        counts = [len(document) for document in sentences]
        lengths = [sum(document) for document in sentences]
        layout = whole_sentences.full_sentences(flat, counts, seq_len, cross_documents=cross_documents, min_tokens=min_tokens)
        check_conservation(lengths, layout, seq_len, in_order=True)
        check_fill(lengths, layout, seq_len)
        ends = [set(np.cumsum([0, *document]).tolist()) for document in sentences]
        long = [d for d, document in enumerate(sentences) if max(document, default=0) > seq_len]
        for row in rows(layout):
            assert sum(n for *_, n in row) >= min_tokens
            assert cross_documents or len(row) == 1
            for d, s, n in row:
                assert d in long or {s, s + n} <= ends[d]

    @given(st.lists(st.integers(1, 8), max_size=30))
    def test_each_example_takes_all_it_can(self, sentences):
        layout = whole_sentences.full_sentences(sentences, [1] * len(sentences), 8)
        examples = lengths_of(layout)
        for this, following in itertools.pairwise(examples):
            assert sum(this) + following[0] > 8

    def test_counts_must_agree(self):
        with pytest.raises(BuildError, match="the documents have 3 sentences, 2 lengths"):
            whole_sentences.full_sentences([1, 2], [3], 8)
