"""Units are normalised as the library normalises a text of them alone."""

import itertools

import numpy as np
import pytest
import sentencepiece

from tests.tokenreel.vocabularies.blocks import NASTY, block, nasty_documents
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo.kernels.normalizer import normalize
from tokenreel.vocabularies.unit_memo.kernels.units import FIRST, LAST
from tokenreel.vocabularies.unit_memo.model_arrays import trie_of


def normalized(data, texts, flag):
    """What the kernel makes of texts, each a unit with a flag."""
    model = sentencepiece_model.parse(data)
    rules = model.rules
    text, bounds = block(texts)
    out, out_bounds = normalize(
        text,
        bounds.astype(np.int32),
        np.arange(len(texts), dtype=np.int32),
        np.full(len(texts), flag, dtype=np.uint8),
        rules.trie,
        np.frombuffer(rules.replacements, dtype=np.uint8),
        int(rules.out_bytes.max(initial=0)),
        trie_of(model, model.types == sentencepiece_model.USER_DEFINED),
        model.dummy_prefix,
        model.collapse,
    )
    return [out[a:b].tobytes().decode() for a, b in itertools.pairwise(out_bounds.tolist())]


@pytest.mark.parametrize("normalizer", ["identity", "nmt_nfkc", "nmt_nfkc_cf"])
@pytest.mark.parametrize(
    "options", [{}, {"remove_extra_whitespaces": False}, {"add_dummy_prefix": False, "user_defined_symbols": ["<sep>", "~~"]}], ids=str
)
def test_whole_documents_are_normalised_as_by_the_library(train, normalizer, options):
    data = train("bpe", normalizer, **options)
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    texts = [text for text in [*NASTY, *nasty_documents(500, 3)] if text]  # a document without text has no units
    texts.append("ﷺ" * 2000)  # needs more room than was guessed
    assert normalized(data, texts, FIRST | LAST) == [library.normalize(text) for text in texts]


def test_spaces_at_the_ends_of_units_stay_within_a_document(train):
    data = train("bpe", "nmt_nfkc")
    assert normalized(data, [" a ", "a", " ", "a\tﬁ"], 0) == ["▁a▁", "a", "▁", "a▁fi"]
    assert normalized(data, [" a ", "a", " "], FIRST) == ["▁a▁", "▁a", "▁"]
    assert normalized(data, [" a ", "a", " "], LAST) == ["▁a", "a", ""]
