"""Units are normalised as the library normalises a text of them alone."""

import itertools

import numpy as np
import pytest
import sentencepiece

from tests.tokenreel.vocabularies.blocks import NASTY, nasty_documents
from tests.tokenreel.vocabularies.sentencepiece.models import UNESCAPED
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo.kernels.documents import FIRST, LAST
from tokenreel.vocabularies.unit_memo.kernels.normalizer import normalize
from tokenreel.vocabularies.unit_memo.model_arrays import to_normalizer


def normalize_units(data, texts, flag):
    """What the kernel makes of texts, each a unit with a flag: the normalised text, and the character that each of its bytes comes from."""
    normalizer = to_normalizer(sentencepiece_model.parse(data))
    for text in texts:
        unit, size, count = np.frombuffer(text.encode(), dtype=np.uint8), -1, 32
        while size < 0:
            count *= 2
            out, origins = np.zeros(count, dtype=np.uint8), np.zeros(count + 1, dtype=np.int32)
            size = normalize(unit, flag, normalizer, out, origins)
        yield out[:size].tobytes(), origins[: size + 1].tolist()


def normalized(data, texts, flag):
    return [found.decode() for found, _ in normalize_units(data, texts, flag)]


@pytest.mark.parametrize("normalizer", ["identity", "nmt_nfkc", "nmt_nfkc_cf"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False, "user_defined_symbols": ["<sep>", "~~"]},
        {"treat_whitespace_as_suffix": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("changes", [b"", UNESCAPED])
def test_whole_documents_are_normalised_as_by_the_library(train, normalizer, options, changes):
    data = train("bpe", normalizer, **options) + changes
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    texts = [text for text in [*NASTY, *nasty_documents(500, 3)] if text]  # a document without text has no units
    texts.append("ﷺ" * 2000)  # needs more room than was guessed
    for text, (found, origins) in zip(texts, normalize_units(data, texts, FIRST | LAST), strict=True):
        expected, places = library.normalize(text, with_offsets=True)
        assert found.decode() == expected
        ends = [*itertools.accumulate((len(character.encode()) for character in expected), initial=0)]
        assert not expected or [origins[end] for end in ends] == places, text  # where nothing is left, there are no tokens


def test_spaces_at_the_ends_of_units_stay_within_a_document(train):
    data = train("bpe", "nmt_nfkc")
    assert normalized(data, [" a ", "a", " ", "a\tﬁ"], 0) == ["▁a▁", "a", "▁", "a▁fi"]
    assert normalized(data, [" a ", "a", " "], FIRST) == ["▁a▁", "▁a", "▁"]
    assert normalized(data, [" a ", "a", " "], LAST) == ["▁a", "a", ""]
