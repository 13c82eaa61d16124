import dataclasses
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import metrics
from tokenreel.tasks.metrics import ModelOutputType

NAMES = {5: "e5", 6: "e6", 7: "e7"}
FEATURES = {"targets": SimpleNamespace(vocabulary=SimpleNamespace(decode=lambda ids: " ".join(NAMES[int(i)] for i in ids)))}
EXAMPLES = [{"targets_pretokenized": b"e5 e6"}, {"targets": np.array([6])}, {"targets_pretokenized": "e7"}]


def accuracy(targets, predictions):
    return {"accuracy": 100 * np.mean([p == t for p, t in zip(predictions, targets, strict=True)])}


def total(targets, scores):
    weights = [sum(ord(letter) for letter in target) for target in targets]
    return {"total": (np.array(scores) * np.array(weights)).sum()}


def upper(text, example, is_target):
    assert is_target or example in EXAMPLES
    return text.upper() if is_target else text.replace("e", "E")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda targets, predictions: {}, ModelOutputType.PREDICTION),
        (lambda targets, scores, weight=2: {}, ModelOutputType.SCORE),
        (lambda targets, predictions, aux_values, *, key="x": {}, ModelOutputType.PREDICTION_WITH_AUX),
        (lambda targets, predictions, **more: {}, ModelOutputType.PREDICTION),
    ],
)
def test_a_function_is_known_by_its_arguments(function, expected):
    assert metrics.PassthroughLegacyMetric.from_metric_fn(function).model_output_type == expected
    assert metrics.LegacyMetric.empty(function, None).model_output_type == expected


@pytest.mark.parametrize("function", [lambda predictions, targets: {}, lambda targets: {}, lambda targets, scores, more: {}])
def test_other_arguments_are_refused(function):
    message = r"Metric functions must have positional arguments matching either \('targets', 'scores'\).*Got: \("
    with pytest.raises(ConfigError, match=message):
        metrics.PassthroughLegacyMetric.from_metric_fn(function)
    with pytest.raises(ValueError, match=message):
        metrics.LegacyMetric.empty(function, None)


def computed(function, outputs, postprocess=None, **more):
    metric = metrics.PassthroughLegacyMetric.from_metric_fn(function, postprocess).empty()
    return metric.from_model_output(EXAMPLES, outputs, FEATURES, "targets", **more).actual_compute(EXAMPLES, FEATURES)


def test_predictions_are_decoded_and_postprocessed():
    values, logged = computed(accuracy, [[5, 6], [7, 5], [7]])
    assert values == {"accuracy": pytest.approx(200 / 3)}
    assert logged == {"targets": ["e5 e6", "e6", "e7"], "output": ["e5 e6", "e7 e5", "e7"], "prediction": ["e5 e6", "e7 e5", "e7"]}
    values, logged = computed(accuracy, [[5, 6], [7, 5], [7]], upper)
    assert logged["targets"] == ["E5 E6", "E6", "E7"] and logged["prediction"] == ["E5 E6", "E7 E5", "E7"]
    assert values == {"accuracy": pytest.approx(200 / 3)}


def test_scores_reach_the_function():
    values, logged = computed(total, np.array([2, 1, 3]))
    assert values == {"total": 1305} and logged["score"].tolist() == [2, 1, 3]


def test_outputs_of_several_shards_are_put_in_order_and_padding_is_left_out():
    places = np.array([[1, 0], [0, 1], [0, 0], [1, 1]])
    outputs = (np.array([[7], [6], [5], [7]]), {"scores": [3, 2, 1, 9]})

    def ordered(targets, predictions, aux_values):
        return {"predictions": predictions, "scores": aux_values["scores"]}

    values, _ = computed(ordered, outputs, mask=np.array([1, 1, 1, 0]), indices_2d=places)
    assert values == {"predictions": ["e5", "e6", "e7"], "scores": [1, 2, 3]}


def test_as_many_outputs_as_examples():
    with pytest.raises(ConfigError, match="2 outputs for 3 examples: it must give one for each"):
        computed(total, np.array([1, 2]))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (np.array([[5, 6], [7, 7]]), ["e5 e6", "e7 e7"]),
        ([[5], [], np.array([6, 7])], ["e5", "", "e6 e7"]),
        (np.array([[[5], [6]], [[7], [7]]]), [["e5", "e6"], ["e7", "e7"]]),
        ([[[5, 6], [6]], [[], [7]], []], [["e5 e6", "e6"], ["", "e7"], ""]),
        (["e5", b"e6"], ["e5", b"e6"]),
        ([["e5", "e6"]], [["e5", "e6"]]),
        ([0.5, np.float32(1)], [0.5, 1.0]),
    ],
    ids=["rectangular", "ragged", "several", "several ragged", "texts", "several texts", "numbers"],
)
def test_what_a_model_predicted_is_decoded(outputs, expected):
    assert metrics.decode_outputs(outputs, FEATURES["targets"].vocabulary) == expected


def test_outputs_become_an_array_where_they_can():
    assert metrics.as_array([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert metrics.as_array([[1], [2, 3]]) == [[1], [2, 3]]
    assert metrics.as_array(["a\0", "b"]) == ["a\0", "b"], "NumPy cuts zeros off texts"


def test_padding_and_order_as_in_seqio():
    indices, outputs = metrics.remove_padding_examples(
        np.array([[1, 2, 3], [1, 3, 4], [1, 2, 3]]), np.array([[0, 1], [0, 2], [0, 0]]), np.array([1, 1, 0])
    )
    assert indices.tolist() == [[0, 1], [0, 2]] and outputs.tolist() == [[1, 2, 3], [1, 3, 4]]
    ordered = metrics.globally_sort_model_output(np.array([[1, 2, 3], [1, 3, 4], [1, 2, 3]]), np.array([[0, 1], [0, 2], [0, 0]]))
    assert ordered.tolist() == [[1, 2, 3], [1, 2, 3], [1, 3, 4]]


def test_collected_batches_are_merged():
    metric = metrics.PassthroughLegacyMetric.from_metric_fn(accuracy)
    whole = metric.empty()
    for place, outputs in ((0, [[5, 6]]), (1, [[6], [7]])):
        rows = np.array([[place, number] for number in range(len(outputs))])
        whole = whole.merge(metric.from_model_output(EXAMPLES, outputs, FEATURES, indices_2d=rows))
    assert whole.actual_compute(EXAMPLES, FEATURES)[0] == {"accuracy": 100.0}
    assert set(whole.compute()) == {"model_output", "indices_2d", "mask"}


def test_metrics_pickle():
    metric = pickle.loads(pickle.dumps(metrics.PassthroughLegacyMetric.from_metric_fn(accuracy, upper)))
    assert metric.metric_fn is accuracy and metric.postprocess_fn is upper
    assert pickle.loads(pickle.dumps(metrics.Scalar(3))) == metrics.Scalar(3)


def test_targets_are_postprocessed_once():
    calls = []

    def noted(text, example, is_target):
        calls.append(is_target)
        return text

    metric = metrics.PassthroughLegacyMetric.from_metric_fn(total, noted).from_model_output(EXAMPLES, np.array([2, 1, 3]), FEATURES)
    _, logged = metric.actual_compute(EXAMPLES, FEATURES)
    assert calls == [True] * 3
    assert metric.actual_compute(EXAMPLES, FEATURES, cached_targets=logged["targets"])[0] == {"total": 1305}
    assert calls == [True] * 3


def test_the_older_form_of_metrics():
    metric = metrics.LegacyMetric.empty(accuracy, upper)
    assert metric.from_model_output(EXAMPLES, [[5, 6], [7, 5], [7]], FEATURES).compute() == {"accuracy": pytest.approx(200 / 3)}
    assert set(metric.targets_and_inferences) == {"targets", "output", "prediction"}
    assert metric.postprocess_fn("e5", example=EXAMPLES[0], is_target=True) == "E5"


@dataclasses.dataclass(frozen=True)
class Count(metrics.Metric):
    """A user's own metric, which is gathered batch by batch."""

    model_output_type: ModelOutputType = ModelOutputType.PREDICTION
    count: int = 0

    @classmethod
    def empty(cls):
        return cls()

    @classmethod
    def from_model_output(cls, inputs, model_output, features, target_field_name="targets", mask=None, indices_2d=None):
        return cls(count=len(inputs))

    def merge(self, other):
        return type(self)(count=self.count + other.count)

    def compute(self):
        return {"count": self.count}


def test_a_metric_of_ones_own():
    one = Count.empty().from_model_output(EXAMPLES, [], FEATURES)
    assert one.merge(Count.from_model_output(EXAMPLES[:1], [], FEATURES)).compute() == {"count": 4}


@pytest.mark.parametrize(
    "call",
    [
        metrics.Metric.empty,
        lambda: metrics.Metric.from_model_output([], [], {}),
        metrics.Metric(ModelOutputType.SCORE).compute,
        lambda: metrics.Metric(ModelOutputType.SCORE).merge(None),
        lambda: metrics.CollectingMetric.empty().actual_compute([], {}),
    ],
)
def test_a_metric_without_its_methods(call):
    with pytest.raises(NotImplementedError, match="Must override"):
        call()


def test_kinds_of_outputs_have_names():
    names = ["prediction", "score", "prediction_with_aux", "score_with_intermediates"]
    assert [ModelOutputType.to_str(kind) for kind in ModelOutputType] == names
