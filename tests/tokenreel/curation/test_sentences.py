import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SENTENCE_LENGTHS
from tokenreel.curation import sentences
from tokenreel.errors import ConfigError


class TestSentences:
    @given(st.text(alphabet="aB .!?\n\"'(1。é", max_size=60), st.sampled_from(sentences.RULES))
    def test_sentences_are_the_text(self, text, rule):
        found = sentences.split(text, rule)
        assert "".join(found) == text and all(found)

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("Mr. Smith met J. R. Jones at 3 p.m. in Washington, D.C. on Jan. 5. They spoke.", 2),
            ("It costs 3.50 dollars. e.g. this one.", 1),
            ("Really?! Yes. (He left.) She stayed.", 4),
            ("Wait... What? no", 2),
            ("今日は。元気です！はい", 3),
            ("A title\n\nThe text begins. It ends", 3),
            ("It was I. Then he left.", 2),
            ("", 0),
        ],
    )
    def test_rules(self, text, count):
        assert len(sentences.split(text)) == count

    def test_newlines(self):
        assert sentences.split("a. B\nc\n\nd", "newline") == ["a. B\n", "c\n", "\n", "d"]

    def test_unknown_rule(self):
        with pytest.raises(ConfigError, match="must be one of newline, rules, got 'nltk'"):
            sentences.split("a", "nltk")

    @given(SENTENCE_LENGTHS)
    def test_lengths_in_tokens(self, documents):
        documents = [[n for n in document if n] for document in documents]
        tokens = [t for document in documents for n in document for t in [7] * (n - 1) + [1]]
        offsets = np.cumsum([0, *map(sum, documents)])
        lengths, counts = sentences.lengths_in_tokens(np.array(tokens, int), offsets, [1])
        assert lengths.tolist() == [n for document in documents for n in document] and counts.tolist() == [len(d) for d in documents]

    def test_ends_of_pieces(self):
        pieces = ["\u2581pi", "\u2581is", "\u25813", ".", "14", '!"', "\u2581Yes", "<0x0A>", "\u010a"]
        ids = sentences.end_ids(pieces)
        assert ids.tolist() == [3, 5] and sentences.end_ids(pieces, "newline").tolist() == [7, 8]
        tokens = np.array([0, 1, 2, 3, 4, 3, 6, 5, 6, 6])  # pi is 3.14. Yes!" Yes Yes
        starts = np.array([piece.startswith("\u2581") for piece in pieces])
        assert sentences.lengths_in_tokens(tokens, [0, 10], ids, starts)[0].tolist() == [6, 2, 2]
        assert sentences.lengths_in_tokens(tokens, [0, 10], ids)[0].tolist() == [4, 2, 2, 2]
        with pytest.raises(ConfigError, match="finds no piece of the vocabulary"):
            sentences.end_ids(["a"])
        with pytest.raises(ConfigError, match="must be one of newline, rules, got 'nltk'"):
            sentences.end_ids(pieces, "nltk")
