import json
import pickle

import numpy as np
import pytest

from tests.tokenreel.tasks.test_example_stream import check_states
from tokenreel.tasks import feature_converters, getting
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.mixture import Mixture, MixtureRegistry
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.task import Task, TaskRegistry
from tokenreel.tasks.vocabularies import PassThroughVocabulary

FEATURES = {name: Feature(PassThroughVocabulary(100)) for name in ("inputs", "targets")}
ENC_DEC, LM = feature_converters.EncDecFeatureConverter, feature_converters.LMFeatureConverter


def three(split, shuffle_files):
    """The two examples of SeqIO's own test of `get_dataset`, and one more."""
    rows = [([7, 8, 5, 6, 9, 4, 3], [3, 9]), ([8, 4], [4])]
    return [{"inputs": inputs, "targets": targets, "more": np.int32(5)} for inputs, targets in rows]


TASK = Task("a", FunctionDataSource(three, ["train"], num_input_examples={"train": 2}), FEATURES)


@pytest.fixture
def registries():
    TaskRegistry.add_provider("a", TASK)
    yield
    TaskRegistry.reset()
    MixtureRegistry.reset()


def plain(dataset):
    return [{name: value.tolist() for name, value in row.items()} for row in dataset]


def test_padded_and_packed():
    padded = plain(getting.get_dataset(TASK, {"inputs": 7, "targets": 3}, ENC_DEC(pack=False)))
    assert padded == [
        {
            "encoder_input_tokens": [7, 8, 5, 6, 9, 4, 3],
            "decoder_target_tokens": [3, 9, 0],
            "decoder_input_tokens": [0, 3, 9],
            "decoder_loss_weights": [1, 1, 0],
        },
        {
            "encoder_input_tokens": [8, 4, 0, 0, 0, 0, 0],
            "decoder_target_tokens": [4, 0, 0],
            "decoder_input_tokens": [0, 4, 0],
            "decoder_loss_weights": [1, 0, 0],
        },
    ]
    packed = plain(getting.get_dataset(TASK, {"inputs": 9, "targets": 3}, ENC_DEC(pack=True)))
    assert len(packed) == 1 and packed[0]["encoder_segment_ids"] == [1, 1, 1, 1, 1, 1, 1, 2, 2]
    assert packed[0]["decoder_input_tokens"] == [0, 3, 0] and packed[0]["decoder_positions"] == [0, 1, 0]


def test_arguments(registries):
    lengths = {"inputs": 4, "targets": 2}
    rows = getting.get_dataset("a", lengths, ENC_DEC(pack=False), num_epochs=3, batch_size=4)
    batches = list(rows)
    assert len(batches) == 1 and batches[0]["encoder_input_tokens"].shape == (4, 4)
    assert rows.spec["encoder_input_tokens"] == (np.int32, (4, 4))
    assert len(plain(getting.get_dataset("a", lengths, ENC_DEC(pack=False), shard_info=ShardInfo(1, 2)))) == 1
    assert plain(getting.get_dataset("a", lengths, ENC_DEC(pack=False), shuffle=True, seed=1)) != []
    with pytest.raises(ValueError, match="has length not less than or equal to the expected length of 4"):
        list(getting.get_dataset("a", lengths, ENC_DEC(pack=False), trim_output_features=False))
    with pytest.raises(TypeError, match="feature_converter should be an instance of FeatureConverter"):
        getting.get_dataset("a", lengths, "lm")
    check_states(getting.get_dataset("a", lengths, ENC_DEC(pack=False), num_epochs=3), 6)
    check_states(getting.get_dataset("a", lengths, ENC_DEC(pack=True), num_epochs=4, shuffle=True, seed=3), 4)


def test_mixtures_and_passed_through_features(registries):
    mixture = Mixture("m", [TASK, TASK.replace(name="b")], default_rate=1)
    spec = feature_converters.FeatureConverter.FeatureSpec(np.int32, rank=0)
    converter = LM(pack=False, passthrough_features={"more": spec})
    features = {"targets": FEATURES["targets"]}
    one = mixture.tasks[0].replace(output_features=features)
    rows = list(getting.get_dataset(Mixture("m", [one], default_rate=1), {"targets": 3, "more": None}, converter))
    assert [int(row["more"]) for row in rows] == [5, 5]
    MixtureRegistry.add_provider("m", mixture)
    assert len(plain(getting.get_dataset("m", {"inputs": 7, "targets": 3}, ENC_DEC(pack=False)))) == 4
    resumed = pickle.loads(pickle.dumps(getting.get_dataset("m", {"inputs": 7, "targets": 3}, ENC_DEC(pack=False))))
    assert len(plain(resumed)) == 4
    json.dumps(iter(resumed).get_state())


def test_names(registries):
    assert getting.get_mixture_or_task("a") is TASK and getting.maybe_get_mixture_or_task(TASK) is TASK
    mixture = MixtureRegistry.add("a", [TASK], default_rate=1)
    assert getting.get_mixture_or_task("a") is mixture is getting.maybe_get_mixture_or_task("a")
    assert getting.get_subtasks(TASK) == [TASK] == getting.get_subtasks(mixture)
    TaskRegistry.add_provider("translate", TASK)
    with pytest.raises(ValueError, match=r"No Task or Mixture found with name 'transalte'\. Did you mean translate"):
        getting.get_mixture_or_task("transalte")
    with pytest.raises(ValueError, match=r"No Task or Mixture found with name 'xyz'\. 3 are registered"):
        getting.get_mixture_or_task("xyz")
    with pytest.raises(ValueError, match="User passed in a task that was not a string"):
        getting.maybe_get_mixture_or_task(5)
    with pytest.raises(ValueError, match="the name of a task or mixture is a string"):
        getting.get_mixture_or_task(5)


@pytest.mark.tensorflow
def test_tensorflow_gets_shapes():
    import tensorflow as tf

    dataset = getting.get_dataset(TASK, {"inputs": 7, "targets": 3}, ENC_DEC(pack=False), batch_size=2).to_tf_data()
    assert dataset.element_spec["decoder_input_tokens"] == tf.TensorSpec([2, 3], tf.int32)
    assert len(list(dataset)) == 1
