"""What a converter checks, converters of one's own, and `tf.data` in and out."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.tokenreel.tasks.feature_converters.test_decoder import PAIRS
from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream
from tokenreel.tasks.feature_converters import EncDecFeatureConverter, FeatureConverter, LMFeatureConverter, PrefixLMFeatureConverter
from tokenreel.tasks.feature_converters.blocks import from_examples

SPEC = FeatureConverter.FeatureSpec


def test_lengths_name_the_features_one_for_one() -> None:
    stream = ExampleStream.from_examples(PAIRS)
    with pytest.raises(ConfigError, match=r"task_feature_lengths is missing features specified in the TASK_FEATURES: \{'targets'\}"):
        EncDecFeatureConverter()(stream, {"inputs": 5})
    with pytest.raises(ConfigError, match=r"task_feature_lengths contains extra features not specified in the TASK_FEATURES: \{'inputs'\}"):
        LMFeatureConverter()(stream, {"inputs": 5, "targets": 5})


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"inputs": [1]}, "Dataset is missing an expected feature during input_validation validation: 'targets'. Received inputs"),
        ({"inputs": [1], "targets": np.array([1.5])}, "incorrect type for feature 'targets' .* Got float64, expected int32"),
        ({"inputs": [1], "targets": [[1]]}, "incorrect rank for feature 'targets' .* Got 2, expected 1"),
        ({"inputs": [1], "targets": [1] * 6}, "'targets' has length not less than or equal to the expected length of 5"),
    ],
)
def test_what_is_wrong_with_an_example(example: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(EncDecFeatureConverter()(ExampleStream.from_examples([example]), {"inputs": 5, "targets": 5}))


def test_a_list_of_examples_is_no_data_set() -> None:
    with pytest.raises(ConfigError, match=r"ExampleStream\.from_examples makes a stream of a list"):
        EncDecFeatureConverter()(PAIRS, {"inputs": 5, "targets": 5})


def test_arguments_and_classes() -> None:
    with pytest.raises(ConfigError, match="compat must be 'seqio' or None, got 't5'"):
        LMFeatureConverter(compat="t5")

    class Nothing(FeatureConverter):
        def get_model_feature_lengths(self, task_feature_lengths: Any) -> Any:
            return {}

    with pytest.raises(ConfigError, match="TASK_FEATURES must be defined in the subclass"):
        Nothing()
    again = pickle.loads(pickle.dumps(PrefixLMFeatureConverter(False, bos_id=3)))
    assert again.bos_id == 3 and not again.loss_on_targets_only and again.pack


class WithLengths(LMFeatureConverter):
    """A model that is told how much of a row is real; written for one row, as for SeqIO."""

    MODEL_FEATURES: ClassVar[Any] = {**LMFeatureConverter.MODEL_FEATURES, "length": SPEC(np.int32, rank=0)}

    def _convert_example(self, features: Any) -> Any:
        converted = super()._convert_example(features)
        return {**converted, "length": int(sum(converted["decoder_loss_weights"]))}

    def get_model_feature_lengths(self, task_feature_lengths: Any) -> Any:
        return {**super().get_model_feature_lengths(task_feature_lengths), "length": 0}


def test_a_class_of_ones_own_is_asked_row_by_row() -> None:
    rows = list(WithLengths(pack=False)(ExampleStream.from_examples(PAIRS), {"targets": 5}))
    assert [(int(row["length"]), row["decoder_input_tokens"].tolist()) for row in rows] == [(3, [0, 3, 9, 1, 0]), (2, [0, 4, 1, 0, 0])]
    block = from_examples([{"targets": np.int32([1, 2, 3])}], {"targets": SPEC(np.int32)})
    assert WithLengths().convert_rows(block, {"targets": 4})["length"].tolist() == [3]


class Forgetful(LMFeatureConverter):
    def _convert_example(self, features: Any) -> Any:
        return {"decoder_target_tokens": features["targets"]}


def test_a_class_that_gives_other_features_than_it_says_is_refused() -> None:
    with pytest.raises(ConfigError, match="output_dataset is missing features specified in the model_feature_names"):
        list(Forgetful()(ExampleStream.from_examples(PAIRS), {"targets": 5}))


@pytest.mark.tensorflow
class TestTensorFlow:
    """What people bring who have written for SeqIO."""

    @pytest.mark.parametrize("pack", [False, True])
    def test_data_sets_give_data_sets(self, pack: bool) -> None:
        import tensorflow as tf

        lengths = {"inputs": 10, "targets": 7}
        stream = ExampleStream.from_examples([{**example, "text": "not converted"} for example in PAIRS])
        for converter in (EncDecFeatureConverter(pack=pack), PrefixLMFeatureConverter(pack=pack)):
            converted = converter(stream.to_tf_data(), lengths)
            assert isinstance(converted, tf.data.Dataset)
            expected = list(converter(stream, lengths))
            found = list(converted.as_numpy_iterator())
            assert [{k: v.tolist() for k, v in row.items()} for row in found] == [
                {k: v.tolist() for k, v in row.items()} for row in expected
            ]
            assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in converted.element_spec.items()} == {
                name: (tf.int32, [len(array)]) for name, array in expected[0].items()
            }

    def test_errors_are_those_that_tasks_catch(self) -> None:
        import tensorflow as tf

        dataset = ExampleStream.from_examples(PAIRS).to_tf_data()
        with pytest.raises(tf.errors.InvalidArgumentError, match="has length not less than or equal to the expected length of 4"):
            list(EncDecFeatureConverter()(dataset, {"inputs": 4, "targets": 7}))
        with pytest.raises(ConfigError, match="Dataset has incorrect type for feature 'targets'"):
            LMFeatureConverter()(dataset.map(lambda example: {"targets": tf.cast(example["targets"], tf.int64)}), {"targets": 4})

    @pytest.mark.parametrize("pack", [False, True])
    def test_a_converter_written_for_seqio(self, pack: bool) -> None:
        """The form of SeqIO's own documentation: `_pack_or_pad`, then a `map`."""
        import tensorflow as tf

        class Doubled(FeatureConverter):
            TASK_FEATURES: ClassVar[Any] = {"targets": SPEC(dtype=tf.int32)}
            MODEL_FEATURES: ClassVar[Any] = {"twice": SPEC(dtype=tf.int32)}
            PACKING_FEATURE_DTYPES: ClassVar[Any] = {"segments": tf.int32}

            def _convert_features(self, ds: Any, task_feature_lengths: Any) -> Any:
                def convert_example(features: Any) -> Any:
                    converted = {"twice": 2 * features["targets"]}
                    return {**converted, "segments": features["targets_segment_ids"]} if self.pack else converted

                ds = self._pack_or_pad(ds, task_feature_lengths)
                return ds.map(convert_example, num_parallel_calls=tf.data.experimental.AUTOTUNE)

            def get_model_feature_lengths(self, task_feature_lengths: Any) -> Any:
                lengths = {"twice": task_feature_lengths["targets"]}
                return {**lengths, "segments": task_feature_lengths["targets"]} if self.pack else lengths

        stream = ExampleStream.from_examples([{**example, "text": "left out"} for example in PAIRS])
        rows = [{k: v.tolist() for k, v in row.items()} for row in Doubled(pack=pack)(stream, {"targets": 6})]
        if pack:
            assert rows == [{"twice": [6, 18, 2, 8, 2, 0], "segments": [1, 1, 1, 2, 2, 0]}]
        else:
            assert rows == [{"twice": [6, 18, 2, 0, 0, 0]}, {"twice": [8, 2, 0, 0, 0, 0]}]
