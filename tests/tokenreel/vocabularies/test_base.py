"""What holds for vocabularies of every kind."""

from __future__ import annotations

import pytest

from tests.tokenreel.vocabularies.blocks import block
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.base import check_extra_ids
from tokenreel.vocabularies.loading import load_vocabulary


@pytest.mark.parametrize("documents", [[], [""], ["", ""]])
def test_blocks_without_text(unigram_model, documents):
    for vocabulary in (load_vocabulary("sentencepiece", unigram_model), load_vocabulary("bytes")):
        ids, lengths = vocabulary.encode_block(*block(documents))
        assert ids.tolist() == [] and lengths.tolist() == [0] * len(documents)


def test_tokens_are_found_by_the_first_name_that_there_is(unigram_model):
    vocabulary = load_vocabulary("bytes", extra_ids=3)
    assert vocabulary.find("[EOS]", "</s>", "<pad>") == 1 and vocabulary.find("[EOS]") is None
    plain = load_vocabulary("sentencepiece", unigram_model)
    assert all(plain.find(str(plain.piece(token))) == token for token in range(plain.vocab_size))


def test_facts_for_objectives_leave_out_what_there_is_not(unigram_model):
    facts = load_vocabulary("bytes", extra_ids=3).objective_facts()
    assert (facts["first_sentinel_id"], facts["num_sentinels"]) == (261, 3) and "mask_id" not in facts and "word_starts" not in facts
    assert (facts["vocab_size"], facts["pad_id"], facts["eos_id"], facts["special_ids"]) == (262, 0, 1, (0, 1, 2))
    facts = load_vocabulary("sentencepiece", unigram_model).objective_facts()
    assert "first_sentinel_id" not in facts and "num_sentinels" not in facts and "characters" not in facts and facts["word_starts"].any()


@pytest.mark.parametrize("number", [-1, True, 1.5, "3", None])
def test_what_is_no_number_of_extra_ids(number):
    with pytest.raises(VocabularyError, match="extra_ids must be a whole number"):
        check_extra_ids(number)
    assert check_extra_ids(0) == 0 and check_extra_ids(7) == 7
