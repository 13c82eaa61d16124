"""The names of labels: one feature for each field, and one meaning for all sources."""

import pytest

from tokenreel.errors import ConfigError
from tokenreel.format import labels


def test_sources_share_labels():
    one, two = {"label_fields": {"t": ["a", "b"]}}, {"label_fields": {"t": ["a", "b"]}, "entity_fields": {"e.x": ["P"]}}
    found = labels.of_sources([one, two, {}])
    assert [(label.feature, label.by_token, label.names) for label in found] == [
        ("label_e_x", True, ("O", "B-P", "I-P")),
        ("label_t", False, ("a", "b")),
    ]


@pytest.mark.parametrize(
    "other", [{"label_fields": {"t": ["b", "a"]}}, {"entity_fields": {"t": ["a", "b"]}}, {"label_fields": {"t": ["a"]}}]
)
def test_sources_agree(other):
    with pytest.raises(ConfigError, match="are both label_t in the records"):
        labels.of_sources([{"label_fields": {"t": ["a", "b"]}}, other])


def test_two_fields_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"'a\.b' and 'a_b' are both label_a_b"):
        labels.of_sources([{"label_fields": {"a_b": ["x"], "a.b": ["x"]}}])
