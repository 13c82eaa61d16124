"""Encoder and decoder: SeqIO's published rows, features that lie alike on both sides, audio frames, rows packed before."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from tests.tokenreel.tasks.feature_converters.test_decoder import PAIRS, convert
from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream
from tokenreel.tasks.feature_converters import EncDecFeatureConverter, FeatureConverter, PrePackedEncDecFeatureConverter

PACKED = {
    "encoder_input_tokens": [[7, 8, 5, 1, 8, 4, 9, 3, 1, 0]],
    "encoder_segment_ids": [[1, 1, 1, 1, 2, 2, 2, 2, 2, 0]],
    "encoder_positions": [[0, 1, 2, 3, 0, 1, 2, 3, 4, 0]],
    "decoder_target_tokens": [[3, 9, 1, 4, 1, 0, 0]],
    "decoder_input_tokens": [[0, 3, 9, 0, 4, 0, 0]],
    "decoder_loss_weights": [[1, 1, 1, 1, 1, 0, 0]],
    "decoder_segment_ids": [[1, 1, 1, 2, 2, 0, 0]],
    "decoder_positions": [[0, 1, 2, 0, 1, 0, 0]],
}


def test_packed_and_padded() -> None:
    assert convert(EncDecFeatureConverter(), PAIRS, inputs=10, targets=7) == PACKED
    assert convert(EncDecFeatureConverter(pack=False), PAIRS[:1], inputs=5, targets=4) == {
        "encoder_input_tokens": [[7, 8, 5, 1, 0]],
        "decoder_target_tokens": [[3, 9, 1, 0]],
        "decoder_input_tokens": [[0, 3, 9, 1]],
        "decoder_loss_weights": [[1, 1, 1, 0]],
    }


def test_an_empty_feature_does_not_mix_examples() -> None:
    examples = [{"inputs": [], "targets": [3, 4]}, {"inputs": [5], "targets": [6]}]
    converted = convert(EncDecFeatureConverter(), examples, inputs=3, targets=4)
    assert converted["encoder_segment_ids"] == [[2, 0, 0]] and converted["decoder_segment_ids"] == [[1, 1, 2, 0]]
    as_seqio = convert(EncDecFeatureConverter(compat="seqio"), examples, inputs=3, targets=4)
    assert as_seqio["encoder_segment_ids"] == [[1, 0, 0]] and as_seqio["decoder_segment_ids"] == [[1, 1, 2, 0]]


def test_passthrough_features_are_padded_and_given_on() -> None:
    through = {"ids": FeatureConverter.FeatureSpec(np.int32), "name": FeatureConverter.FeatureSpec("string", rank=0)}
    converter = EncDecFeatureConverter(pack=False, passthrough_features=through)
    examples = [{**PAIRS[0], "ids": [4, 2], "name": "x"}]
    (row,) = converter(ExampleStream.from_examples(examples), {"inputs": 5, "targets": 4, "ids": 3, "name": 0})
    assert row["ids"].tolist() == [4, 2, 0] and row["name"] == b"x"
    with pytest.raises(ConfigError, match="Packing is incompatible with pass-through features"):
        EncDecFeatureConverter(passthrough_features=through)


FRAMES = FeatureConverter.FeatureSpec(np.float32, rank=2)


class AudioConverter(EncDecFeatureConverter):
    """Frames of numbers to text."""

    TASK_FEATURES: ClassVar[Any] = EncDecFeatureConverter.TASK_FEATURES | {"inputs": FRAMES}
    MODEL_FEATURES: ClassVar[Any] = EncDecFeatureConverter.MODEL_FEATURES | {
        "encoder_input_tokens": FeatureConverter.FeatureSpec(np.float32, rank=2)
    }


@pytest.mark.parametrize("pack", [False, True])
def test_frames_to_text(pack: bool) -> None:
    frames = np.zeros((5, 2), np.float32)  # silence is no padding
    examples = [{"inputs": frames[:2], "targets": [3, 1]}, {"inputs": frames[2:], "targets": [4, 5, 1]}]
    rows = list(AudioConverter(pack=pack)(ExampleStream.from_examples(examples), {"inputs": 6, "targets": 5}))
    assert [row["encoder_input_tokens"].shape for row in rows] == [(6, 2)] * len(rows)
    if pack:
        assert rows[0]["encoder_segment_ids"].tolist() == [1, 1, 2, 2, 2, 0] and rows[0]["decoder_segment_ids"].tolist() == [1, 1, 2, 2, 2]
    else:
        assert len(rows) == 2


def test_rows_packed_before() -> None:
    suffixes = {"": "input_tokens", "_segment_ids": "segment_ids", "_positions": "positions"}
    example = {f"inputs{suffix}": np.array(PACKED[f"encoder_{name}"][0][:9], np.int32) for suffix, name in suffixes.items()}
    suffixes[""] = "target_tokens"
    example |= {f"targets{suffix}": np.array(PACKED[f"decoder_{name}"][0][:5], np.int32) for suffix, name in suffixes.items()}
    lengths = {name: 10 if name.startswith("inputs") else 7 for name in example}
    assert convert(PrePackedEncDecFeatureConverter(pack=False), [example], **lengths) == PACKED
    with pytest.raises(ConfigError, match="'pack=True' is not allowed in PrePackedEncDecFeatureConverter"):
        PrePackedEncDecFeatureConverter()
