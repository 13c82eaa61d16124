import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks.features import Feature, numpy_dtype


def test_a_feature_holds_numpy_types():
    assert Feature("v").dtype == np.dtype(np.int32) and Feature("v").rank == 1 and Feature("v").add_eos and Feature("v").required
    assert Feature("v", dtype="float32").dtype == np.dtype(np.float32)
    assert numpy_dtype("string") == numpy_dtype(bytes) == np.dtype(object)
    assert Feature("v", dtype="int32") == Feature("v", dtype=np.int32)


@pytest.mark.tensorflow
def test_the_types_of_tensorflow_are_accepted():
    import tensorflow as tf

    assert Feature("v", dtype=tf.int32) == Feature("v", dtype=np.int32)
    assert Feature("v", dtype=tf.string).dtype == np.dtype(object)
    assert Feature("v", dtype=tf.int32).dtype == tf.int32 and tf.int32 == Feature("v").dtype
    assert Feature("v").dtype != tf.int64


def test_what_is_no_type_or_rank_is_refused():
    with pytest.raises(ConfigError, match="dtype must be a type"):
        Feature("v", dtype="integer thirty-two")
    with pytest.raises(ConfigError, match="needs a dtype"):
        Feature("v", dtype=None)
    with pytest.raises(ConfigError, match="rank must be a whole number"):
        Feature("v", rank=-1)
