"""Examples that are rows already: filtered and checked, or left alone."""

from __future__ import annotations

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream
from tokenreel.tasks.feature_converters import PassThroughFeatureConverter, PrePackedLMFeatureConverter, PrePackedPrefixLMFeatureConverter

ROW = {name: np.arange(7, dtype=np.int32) for name in (*PrePackedPrefixLMFeatureConverter.BATCH_FEATURES, "extra")}


def test_packed_rows_are_filtered() -> None:
    (row,) = PrePackedLMFeatureConverter(pack=False)(ExampleStream.from_examples([ROW]), {"targets": 7})
    assert sorted(row) == sorted(PrePackedLMFeatureConverter.BATCH_FEATURES)
    (row,) = PrePackedPrefixLMFeatureConverter()(ExampleStream.from_examples([ROW]), {"inputs": 3, "targets": 4})
    assert sorted(row) == sorted({*PrePackedLMFeatureConverter.BATCH_FEATURES, "decoder_causal_attention"})


def test_rows_of_another_length_are_refused() -> None:
    stream = ExampleStream.from_examples([ROW])
    with pytest.raises(ConfigError, match=r"has the shape \(7,\), the lengths given say \(8,\)"):
        list(PrePackedLMFeatureConverter()(stream, {"targets": 8}))
    with pytest.raises(ConfigError, match="one lacks decoder_input_tokens"):
        list(PrePackedLMFeatureConverter()(ExampleStream.from_examples([{"targets": [1]}]), {"targets": 1}))


def test_passing_through_changes_nothing() -> None:
    stream = ExampleStream.from_examples([ROW])
    assert PassThroughFeatureConverter(pack=True, anything=3)(stream, {}) is stream
