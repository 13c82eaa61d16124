from __future__ import annotations

from typing import Any

import pytest

from tests.tokenreel.config.jobs import job
from tokenreel.errors import ConfigError
from tokenreel.planning.recipe import Recipe, make_recipe
from tokenreel.vocabularies.byte_level import ByteVocabulary


def recipe(**settings: Any) -> Recipe:
    return make_recipe(job({}, **settings), ByteVocabulary(extra_ids=100))


def test_names_become_ids() -> None:
    """A config may name pieces; what is computed with, and what the manifest says, are ids."""
    a = ByteVocabulary(extra_ids=100).encode("a")[0]
    made = recipe(packing={"seq_len": 16, "add_eos": False, "separator_id": "a"})
    assert made.packing.separator_id == a and made.config.packing.separator_id == "a"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["document_starts", "example_id", "tokens"]),
        ({"packing": {"mode": "best_fit"}}, ["document_starts", "example_id", "num_tokens", "tokens"]),
        ({"packing": {"last_example": "pad"}}, ["document_starts", "example_id", "num_tokens", "tokens"]),
    ],
)
def test_only_examples_that_may_be_padded_store_how_many_tokens_are_real(settings: dict[str, Any], names: list[str]) -> None:
    made = recipe(**settings)
    assert [feature.name for feature in made.features] == names
    assert made.pads == ("num_tokens" in names)


def test_documents_are_laid_out_for_what_the_objective_takes() -> None:
    made = recipe(packing={"seq_len": 64}, objective={"name": "span_corruption"})
    assert made.packing.seq_len == made.objective.raw_length() > 64 == made.config.packing.seq_len


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"packing": {"add_eos": False, "separator_id": "none such"}}, "packing.separator_id: the vocabulary has no piece 'none such'"),
        ({"packing": {"add_eos": False, "separator_id": 359}}, "packing.separator_id must lie between 0 and 358, got 359"),
        (
            {"variants": 2, "packing": {"seq_len": 64}, "objective": {"name": "ul2"}},
            "ul2 draws before examples are laid out: set variants to 1",
        ),
        (
            {"vocabulary": {"kind": "bytes", "offsets": True}, "objective": {"name": "span_corruption"}},
            "vocabulary.offsets says where stored tokens lie in the text, and span_corruption stores inputs and targets instead",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**settings)


def test_buckets_do_not_complain_of_a_length_that_nobody_wrote() -> None:
    """T5 reads 568 tokens for 512 positions; the error said "packing.seq_len must be one of 256, 512, ..., got 568"."""
    with pytest.raises(ConfigError) as caught:
        recipe(packing={"mode": "buckets", "seq_len": 512}, objective={"name": "t5"})
    assert "objective t5 takes examples of 568 tokens for packing.seq_len = 512, and packing.mode buckets makes none" in str(caught.value)
