"""What holds for vocabularies of every kind."""

from __future__ import annotations

import pytest

from tests.conftest import train_model
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
    assert (facts["vocab_size"], facts["pad_id"], facts["eos_id"], facts["special_ids"]) == (262, 0, 1, (0, 1, 2, 259, 260, 261))
    facts = load_vocabulary("sentencepiece", unigram_model).objective_facts()
    assert "first_sentinel_id" not in facts and "num_sentinels" not in facts and "characters" not in facts and facts["word_starts"].any()


def test_special_are_control_symbols_and_marked_symbols_but_no_ordinary_pieces(texts, tmp_path):
    symbols = ["[CLS]", "<PRE>", "<mask>", "<extra_id_1>", "<extra_id_0>", "<|x|>", "<b>", "__", "<sep"]
    text = [*texts, *["it is [SEP] or <sep> here"] * 300]
    path = train_model(text, tmp_path, "bpe", 700, symbols=symbols, control_symbols=["hidden", "[NLU]"], max_sentence_length=100_000)
    vocabulary = load_vocabulary("sentencepiece", path)
    facts = vocabulary.objective_facts()
    named = {"<pad>", "</s>", "<unk>", "<s>", "hidden", "[NLU]", "[CLS]", "<PRE>", "<mask>", "<extra_id_1>", "<extra_id_0>", "<|x|>"}
    assert set(facts["special_names"]) == named and set(facts["special_ids"]) == set(facts["special_names"].values())
    assert all(vocabulary.piece(i) == name for name, i in facts["special_names"].items())
    assert (facts["mask_id"], facts["first_sentinel_id"], facts["num_sentinels"]) == (*map(vocabulary.find, ("<mask>", "<extra_id_0>")), 2)


def test_an_ordinary_piece_is_no_mask_and_no_sentinel(tmp_path):
    """A text of masks teaches BPE a piece that is spelled like one; a config may name it, and builds of before took it."""
    path = train_model(["<mask> <extra_id_0> and"] * 500, tmp_path, "bpe", 300, split_by_unicode_script=False, split_by_number=False)
    vocabulary = load_vocabulary("sentencepiece", path)
    ordinary = {name: vocabulary.find(f"▁{name}") for name in ("<mask>", "<extra_id_0>")}
    assert None not in ordinary.values()
    facts = vocabulary.objective_facts()
    assert "mask_id" not in facts and "first_sentinel_id" not in facts and facts["special_ids"] == (0, 1, 2, 3)
    assert vocabulary.objective_facts(older=True)["first_sentinel_id"] == ordinary["<extra_id_0>"]


def test_facts_of_before():
    facts = load_vocabulary("bytes", extra_ids=3).objective_facts(older=True)
    assert facts["special_ids"] == (0, 1, 2) and facts["num_sentinels"] == 3 and "special_names" not in facts


def test_ids_without_a_name():
    facts = load_vocabulary("pass_through", vocab_size=9, eos_id=3).objective_facts()
    assert facts == {"vocab_size": 9, "eos_id": 3, "special_ids": (3,), "special_names": {}}


@pytest.mark.parametrize("number", [-1, True, 1.5, "3", None])
def test_what_is_no_number_of_extra_ids(number):
    with pytest.raises(VocabularyError, match="extra_ids must be a whole number"):
        check_extra_ids(number)
    assert check_extra_ids(0) == 0 and check_extra_ids(7) == 7
