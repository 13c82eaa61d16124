import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks.rates import mixing_rate_num_characters, mixing_rate_num_examples


class Counted:
    """A task as rate functions see it."""

    name = "counted"

    def __init__(self, examples=None, stats=None):
        self.examples, self.stats = examples, stats
        self.cache_dir = None if stats is None else "somewhere"

    def num_input_examples(self, split):
        return self.examples

    def get_cached_stats(self, split):
        assert self.stats is not None, "not cached"
        return self.stats[split]


def test_rates_by_examples():
    assert mixing_rate_num_examples(Counted(50)) == 50
    assert mixing_rate_num_examples(Counted(50, {"train": {"examples": 30}})) == 30
    assert mixing_rate_num_examples(Counted(50, {"test": {"examples": 7}}), split="test") == 7
    assert mixing_rate_num_examples(Counted(50), maximum=40, scale=0.5) == 25
    assert mixing_rate_num_examples(Counted(50), maximum=16, scale=10, temperature=2) == 4
    with pytest.raises(AssertionError, match="not cached"):
        mixing_rate_num_examples(Counted(50), fallback_to_num_input_examples=False)
    with pytest.raises(ConfigError, match="how many examples task 'counted' has in split 'train' is not known"):
        mixing_rate_num_examples(Counted())


def test_rates_by_characters():
    cached = Counted(stats={"train": {"examples": 1, "text_chars": 81, "inputs_chars": 5}})
    assert mixing_rate_num_characters(cached) == 81 and mixing_rate_num_characters(cached, temperature=4) == 3
    assert mixing_rate_num_characters(cached, char_count_name="inputs_chars") == 5
    with pytest.raises(ValueError, match="requires that each task has is cached"):
        mixing_rate_num_characters(Counted(5))
    with pytest.raises(ConfigError, match="does not count 'words'; it counts inputs_chars, text_chars"):
        mixing_rate_num_characters(cached, char_count_name="words")
