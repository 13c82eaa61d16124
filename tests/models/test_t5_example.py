"""The example of T5: what it decodes is what the Evaluator scores."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

pytestmark = pytest.mark.models


def test_spans_of_other_text_are_filled_in(tmp_path):
    from examples.models import t5

    found = t5.main(["--folder", str(tmp_path), "--steps", "400"])
    assert found["losses"][-1] < 1 < found["losses"][0]
    assert found["before"] == 0 and found["after"] > 0.1


def test_a_prediction_is_right_where_every_token_is():
    from examples.models import t5

    assert t5.filled([[5, 1], [6, 7, 1]], [[5, 1], [6, 1]]) == {"filled": 0.5}
