"""The Evaluator, with the numbers that SeqIO's own tests give (restated: there they patch its constructor and private fields)."""

import functools
import json
import pathlib
import socket
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

from tests import layering
from tokenreel.errors import ConfigError
from tokenreel.tasks import evaluation, feature_converters, loggers, metrics, preprocessors
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.metrics import ModelOutputType
from tokenreel.tasks.mixture import Mixture
from tokenreel.tasks.model_outputs import numpy_model_fn
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.task import Task
from tokenreel.tasks.vocabularies import PassThroughVocabulary

NAMES = {5: "e5", 6: "e6", 7: "e7"}


class Names(PassThroughVocabulary):
    """Decodes 5 to "e5", and so on."""

    def __init__(self):
        super().__init__(size=42, eos_id=1)

    def decode(self, ids):
        return " ".join(NAMES[int(token)] for token in ids)


def sequence_accuracy(targets, predictions):
    return {"sequence_accuracy": 100 * np.mean([p == t for p, t in zip(predictions, targets, strict=True)])}


def accuracy(targets, predictions):
    return {"accuracy": 100 * np.mean([np.all(p == t) for p, t in zip(predictions, targets, strict=True)])}


def total_score(targets, scores):
    weights = [sum(ord(letter) for letter in target) for target in targets]
    return {"total_score": (np.array(scores) * np.array(weights)).sum()}


def class_id(label, label_classes, default=-1, **unused):
    return label_classes.index(label) if label in label_classes else default


def examples(*targets, **more):
    return [{"inputs": np.array([3, 4], np.int32), "targets": np.array([5], np.int32), "targets_pretokenized": t, **more} for t in targets]


def task(name="t", rows=None, metric_fns=(sequence_accuracy,), vocabulary=None, features=("inputs", "targets"), **more):
    rows = examples(b"e5 e6", b"e6", b"e7") if rows is None else rows
    feature = Feature(vocabulary or Names())
    source = FunctionDataSource(lambda split, shuffle_files: rows, splits=["train", "validation"])
    return Task(name, source, dict.fromkeys(features, feature), metric_fns=metric_fns, **more)


def evaluator(*tasks, **more):
    provider = tasks[0] if len(tasks) == 1 else Mixture("mixture", list(tasks), default_rate=1.0)
    return evaluation.Evaluator(provider, feature_converters.EncDecFeatureConverter(pack=False), **more)


def answers(value):
    return numpy_model_fn(lambda dataset: value)


PREDICT = answers([(0, [5, 6]), (1, [7, 5]), (2, [7, 5])])
SCORE = answers([(1, 1), (0, 2), (2, 3)])


def evaluate(judge, **functions):
    future, outputs = judge.evaluate(compute_metrics=True, **functions)
    return future.result(), outputs


# What SeqIO's tests evaluate.


def test_predictions():
    found, outputs = evaluate(evaluator(task()), predict_fn=PREDICT)
    assert found == {"t": {"sequence_accuracy": pytest.approx(100 / 3)}}
    assert outputs == {"t": {ModelOutputType.PREDICTION: [[5, 6], [7, 5], [7, 5]]}}


def test_scores():
    found, outputs = evaluate(evaluator(task(metric_fns=[total_score])), score_fn=SCORE)
    assert found == {"t": {"total_score": 1305}}
    assert outputs["t"][ModelOutputType.SCORE] == [2, 1, 3]


def test_predictions_and_scores():
    found, _ = evaluate(evaluator(task(metric_fns=[sequence_accuracy, total_score])), predict_fn=PREDICT, score_fn=SCORE)
    assert found == {"t": {"sequence_accuracy": pytest.approx(100 / 3), "total_score": 1305}}


def test_scores_with_intermediate_values():
    def total(targets, scores):
        _, further = scores
        weights = [sum(ord(letter) for letter in target) for target in targets]
        return {"total": (further["score"] * np.array(weights)).sum()}

    score = answers(([(1, 1), (0, 2), (2, 3)], {"score": [101, 102, 103]}))
    found, _ = evaluate(evaluator(task(metric_fns=[total])), score_fn=score)
    assert found == {"t": {"total": 66505}}


def test_further_values_move_with_their_predictions():
    def matching(targets, predictions, aux_values):
        rows = zip(predictions, aux_values["scores"], aux_values["other"]["key"], strict=True)
        return {"matching": sum(int(p[1:]) == score == other for p, score, other in rows)}

    ask = answers(([(2, [7]), (0, [5]), (1, [6])], {"scores": [7, 5, 6], "other": {"key": [7, 5, 6]}}))
    found, _ = evaluate(evaluator(task(metric_fns=[matching])), predict_with_aux_fn=ask)
    assert found == {"t": {"matching": 3}}


def test_another_target_field():
    rows = [{"inputs": np.array([3], np.int32), "foo": np.array(ids, np.int32)} for ids in ([5, 6], [6], [7])]

    class Converter(feature_converters.EncDecFeatureConverter):
        TASK_FEATURES: ClassVar = {name: feature_converters.FeatureConverter.FeatureSpec(np.int32) for name in ("inputs", "foo")}

        def _convert_example(self, features):
            return super()._convert_example({"inputs": features["inputs"], "targets": features["foo"]})

        def get_model_feature_lengths(self, lengths):
            return super().get_model_feature_lengths({"inputs": lengths["inputs"], "targets": lengths["foo"]})

    judge = evaluation.Evaluator(task(rows=rows, features=("inputs", "foo")), Converter(pack=False), target_field_name="foo")
    assert evaluate(judge, predict_fn=PREDICT)[0] == {"t": {"sequence_accuracy": pytest.approx(100 / 3)}}


def test_what_is_no_string():
    rows = [{"inputs": np.array([3], np.int32), "targets": np.array(ids, np.int32)} for ids in ([5, 6], [6, 7])]
    found, _ = evaluate(
        evaluator(
            task(
                rows=rows,
                vocabulary=PassThroughVocabulary(42),
                postprocess_fn=lambda value, example, is_target: [int(token) for token in value],
            )
        ),
        predict_fn=answers([(0, [5, 6]), (1, [6, 8])]),
    )
    assert found == {"t": {"sequence_accuracy": 50}}


def test_a_postprocessor_gets_targets_and_predictions():
    seen = []

    def noted(value, example, is_target):
        seen.append((value, example["targets_pretokenized"], is_target))
        return class_id(value, ["e5", "e6", "e7"])

    judge = evaluator(task(rows=examples(b"e5", b"e6", b"e7"), metric_fns=[accuracy], postprocess_fn=noted))
    found, _ = evaluate(judge, predict_fn=answers([(0, [5]), (1, [6]), (2, [6])]))
    assert found == {"t": {"accuracy": pytest.approx(200 / 3)}}
    assert seen == [(f"e{n}", b"e%d" % n, True) for n in (5, 6, 7)] + [("e5", b"e5", False), ("e6", b"e6", False), ("e6", b"e7", False)]
    evaluate(judge, predict_fn=answers([(0, [5]), (1, [6]), (2, [7])]))
    assert [is_target for _, _, is_target in seen[6:]] == [False] * 3, "targets are postprocessed once"


def test_the_tasks_of_a_mixture_are_evaluated_by_themselves():
    one = task("one", examples(b"e5 e6", b"e6"), [sequence_accuracy, total_score])
    two = task(
        "two",
        examples(b"e5", b"e6", b"e7"),
        [accuracy],
        postprocess_fn=functools.partial(class_id, label_classes=["e5", "e6", "e7"]),
    )
    nothing = task("nothing", metric_fns=[])

    @numpy_model_fn
    def predict(dataset):
        return [(0, [5, 6]), (1, [7, 5])] if len(list(dataset)) == 2 else [(0, [5]), (1, [6]), (2, [7])]

    judge = evaluator(one, two, nothing)
    assert [each.name for each in judge.eval_tasks] == ["one", "two"]
    found, _ = evaluate(judge, predict_fn=predict, score_fn=answers([(0, 1), (1, 2)]))
    assert found == {"one": {"sequence_accuracy": 50.0, "total_score": 651}, "two": {"accuracy": 100}}


@pytest.mark.parametrize("ragged", [[(0, [5, 6]), (1, [6]), (2, [])], [(0, np.array([5, 6])), (1, (6,)), (2, np.zeros(0, np.int32))]])
def test_predictions_of_several_lengths(ragged):
    assert evaluate(evaluator(task()), predict_fn=answers(ragged))[0] == {"t": {"sequence_accuracy": pytest.approx(200 / 3)}}


def test_several_predictions_for_each_example():
    def best(targets, predictions):
        return {"best": np.mean([target in texts for target, texts in zip(targets, predictions, strict=True)])}

    ragged = answers([(0, [[5], [5, 6]]), (1, [[7], [6]]), (2, [[5]])])
    assert evaluate(evaluator(task(metric_fns=[best])), predict_fn=ragged)[0] == {"t": {"best": pytest.approx(2 / 3)}}


def test_a_metric_of_its_own_kind():
    class Count(metrics.CollectingMetric):
        model_output_type = ModelOutputType.SCORE_WITH_INTERMEDIATES

        def actual_compute(self, examples, features, field="targets", cached_targets=None):
            scores, further = self.values["model_output"]
            return {"sum": scores.sum() + further["more"].sum()}, {"score": scores}

    judge = evaluator(task(metric_fns=[], metric_objs=[Count.empty()]))
    functions = {ModelOutputType.SCORE_WITH_INTERMEDIATES: answers(([(0, 1), (1, 2), (2, 3)], {"more": [10, 20, 30]}))}
    assert evaluate(judge, model_fns=functions)[0] == {"t": {"sum": 66}}
    with pytest.raises(ConfigError, match=r"Missing: model_fns\[SCORE_WITH_INTERMEDIATES\] for t\."):
        judge.evaluate(compute_metrics=True)


def test_metrics_with_postprocessors_of_their_own_have_targets_of_their_own():
    shout = metrics.PassthroughLegacyMetric.from_metric_fn(lambda targets, predictions: {"shout": targets[0]}, lambda x, **more: x.upper())
    judge = evaluator(task(metric_objs=[shout]))
    for _ in range(2):
        assert evaluate(judge, predict_fn=PREDICT)[0] == {"t": {"shout": "E5 E6", "sequence_accuracy": pytest.approx(100 / 3)}}


# Lengths and shapes.

TWO = [
    {"inputs": np.array([7, 8], np.int32), "targets": np.array([3, 9], np.int32), "targets_pretokenized": b"ex 1"},
    {"inputs": np.array([8, 4, 5, 6], np.int32), "targets": np.array([4], np.int32), "targets_pretokenized": b"ex 2"},
]


@pytest.mark.parametrize(
    ("rows", "lengths", "encoder", "decoder"),
    [
        (TWO[:1], {"inputs": 10, "targets": 8}, 10, 8),
        (TWO, None, 5, 3),
        (TWO, {"inputs": 2}, 2, 3),
    ],
)
def test_lengths_are_those_given_or_those_of_the_longest(rows, lengths, encoder, decoder):
    judge = evaluator(task(rows=rows, preprocessors=[preprocessors.append_eos]), sequence_length=lengths)
    assert judge.model_feature_shapes == {
        "encoder_input_tokens": (encoder,),
        "decoder_input_tokens": (decoder,),
        "decoder_target_tokens": (decoder,),
        "decoder_loss_weights": (decoder,),
    }


def test_lengths_are_those_of_all_tasks():
    judge = evaluator(task("one", TWO[:1]), task("two", TWO[1:]))
    assert judge.model_feature_shapes["encoder_input_tokens"] == (4,) and judge.model_feature_shapes["decoder_input_tokens"] == (2,)


def test_lengths_that_waste_or_cut_are_told(caplog):
    evaluator(task(rows=TWO), sequence_length={"inputs": 9, "targets": 2})
    assert "longer than necessary" in caplog.text and "'inputs': 9" in caplog.text
    caplog.clear()
    evaluator(task(rows=TWO), sequence_length={"inputs": 3, "targets": 2})
    assert "may be insufficient" in caplog.text


def test_the_axis_of_a_sequence():
    rows = [{"inputs": np.zeros((2, number), np.int32), "targets": np.zeros(4, np.int32)} for number in (3, 5, 2)]
    stream = FunctionDataSource(lambda split, shuffle_files: rows, ["x"]).get_dataset("x")
    for count, longest in ((None, 5), (1, 3)):
        measured = evaluation.measure(stream, {"inputs": 0, "targets": 0}, {"inputs": 1}, count, keep=True)
        assert measured.longest == {"inputs": longest, "targets": 4} and measured.count == (count or 3)


def needs_lengths(dataset, sequence_length):
    return dataset


def test_a_step_that_needs_lengths():
    with pytest.raises(ValueError, match=r"^Preprocessor 'needs_lengths' in task 't' has a `sequence_length` argument, making it in"):
        evaluator(task(preprocessors=[needs_lengths]))
    with pytest.raises(ValueError, match="Preprocessor 'needs_lengths' in task 't'"):
        evaluator(task(preprocessors=[functools.partial(needs_lengths)]))
    evaluator(task(preprocessors=[preprocessors.append_eos_after_trim]))  # it can do without


def test_examples_are_made_once():
    made = []

    @numpy_preprocessor
    def noted(dataset):
        return dataset.map(lambda example: made.append(1) or example)

    judge = evaluator(task(rows=TWO, metric_fns=[total_score], preprocessors=[noted]), num_examples=1)
    made.clear()
    for _ in range(2):
        evaluate(judge, score_fn=numpy_model_fn(lambda dataset: [(index, 1) for index, _ in dataset]))
    assert not made
    (example,) = judge.cached_task_datasets["t"]
    assert example["inputs"].tolist() == [7, 8] and example["targets_pretokenized"] == b"ex 1"
    ((index, row),) = judge.cached_model_datasets["t"]
    assert index == 0 and row["encoder_input_tokens"].tolist() == [7, 8]
    again = evaluator(task(rows=TWO, preprocessors=[noted]), num_examples=1, use_memory_cache=False)
    made.clear()
    assert [row["encoder_input_tokens"].tolist() for _, row in again.cached_model_datasets["t"]] == [[7, 8]] and made


# What goes wrong, and what is not there.


def test_nothing_to_evaluate():
    for missing in (task(metric_fns=[]), task().replace(source=FunctionDataSource(lambda split, shuffle_files: TWO, ["train"]))):
        judge = evaluation.Evaluator(missing, feature_converters.EncDecFeatureConverter())
        assert evaluate(judge) == ({}, {})
        future, outputs = judge.evaluate(compute_metrics=False)
        assert future.result() is None and outputs == {}


def test_missing_functions_are_told_before_any_is_called():
    judge = evaluator(task("one", metric_fns=[sequence_accuracy, total_score]), task("two", metric_fns=[total_score]))
    called = []
    with pytest.raises(ConfigError, match=r"Missing: score_fn for one, two\.$"):
        judge.evaluate(compute_metrics=True, predict_fn=numpy_model_fn(called.append))
    assert not called
    with pytest.raises(ConfigError, match=r"Missing: predict_fn for one; score_fn for one, two\.$"):
        judge.evaluate(compute_metrics=True)
    future, outputs = judge.evaluate(compute_metrics=False, score_fn=SCORE)
    assert future.result() is None and outputs == {name: {ModelOutputType.SCORE: [2, 1, 3]} for name in ("one", "two")}


@pytest.mark.parametrize("asynchronous", [True, False])
def test_errors_name_the_task(asynchronous):
    def broken(targets, predictions):
        raise KeyError("missing")

    judge = evaluator(task("number_42", metric_fns=[broken]), async_compute_metrics=asynchronous)
    with pytest.raises(ValueError, match="Failed to evaluate task number_42: 'missing'"):
        evaluate(judge, predict_fn=PREDICT)
    judge = evaluator(task("number_42"))
    with pytest.raises(ConfigError, match="Failed to evaluate task number_42: a model function must give one output for each of 3"):
        judge.evaluate(compute_metrics=True, predict_fn=answers([(0, [5])]))
    with pytest.raises(ZeroDivisionError):
        judge.evaluate(compute_metrics=True, predict_fn=numpy_model_fn(lambda dataset: 1 / 0))


def test_what_went_wrong_in_the_thread_is_raised_at_the_next_evaluation():
    judge = evaluator(task(metric_fns=[lambda targets, predictions: {}[1]]))
    judge.evaluate(compute_metrics=True, predict_fn=PREDICT)
    with pytest.raises(ValueError, match="Failed to evaluate task t"):
        judge.evaluate(compute_metrics=True, predict_fn=PREDICT)
    judge.close()


@pytest.mark.parametrize(
    "functions",
    [
        [accuracy, accuracy],
        [total_score, lambda targets, scores: {"total_score": 0}],
        [accuracy, lambda targets, scores: {"accuracy": 0}],
    ],
)
def test_a_metric_stands_once(functions):
    name = "total_score" if functions[0] is total_score else "accuracy"
    with pytest.raises(ValueError, match=f"Duplicate metric key '{name}' in Task 't'"):
        evaluate(evaluator(task(metric_fns=functions)), predict_fn=PREDICT, score_fn=SCORE)


def test_what_the_constructor_refuses():
    with pytest.raises(ConfigError, match=r"^During evaluation, packing can't be used.$"):
        evaluation.Evaluator(task(), feature_converters.EncDecFeatureConverter(pack=True))
    with pytest.raises(ConfigError, match=r"^'log_dir' must be provided to `Evaluator` if `logger_cls` is non-empty.$"):
        evaluator(task(), logger_cls=[loggers.JSONLogger])
    with pytest.raises(ConfigError, match="Task t has no examples in split 'validation'"):
        evaluator(task(rows=[]))
    with pytest.raises(ValueError, match="No Task or Mixture found with name 'unknown'"):
        evaluation.Evaluator("unknown", feature_converters.EncDecFeatureConverter(pack=False))
    with pytest.raises(ConfigError, match=r"one of 2 shares.*give gather, such as model_outputs.gather_with_jax"):
        evaluator(task(), shard_info=ShardInfo(0, 2))


# Loggers.


def test_loggers_get_metrics_examples_targets_and_outputs(tmp_path):
    calls = []

    class Noted(loggers.Logger):
        def __call__(self, **arguments):
            calls.append((self.output_dir, arguments))

    postprocess = lambda value, example, is_target: value if is_target else value.replace("e6", "e7")  # noqa: E731
    judge = evaluator(
        task(metric_fns=[sequence_accuracy, total_score], postprocess_fn=postprocess),
        logger_cls=[Noted, loggers.JSONLogger],
        log_dir=str(tmp_path),
    )
    judge.evaluate(compute_metrics=True, step=42, predict_fn=PREDICT, score_fn=SCORE)
    judge.close()
    ((directory, arguments),) = calls
    assert directory == str(tmp_path)
    assert arguments == {
        "task_name": "t",
        "step": 42,
        "metrics": {"sequence_accuracy": metrics.Scalar(0.0), "total_score": metrics.Scalar(1305)},
        "dataset": judge.cached_task_datasets["t"],
        "targets": ["e5 e6", "e6", "e7"],
        "inferences": {
            "prediction": ["e5 e7", "e7 e5", "e7 e5"],
            "score": [2, 1, 3],
            "output": ["e5 e6", "e7 e5", "e7 e5"],
        },
    }
    lines = [json.loads(line) for line in (tmp_path / "t-000042.jsonl").read_text().splitlines()]
    assert [line["target"] for line in lines] == ["e5 e6", "e6", "e7"] and lines[0]["input"]["inputs"] == [3, 4]


# Hosts.

HOST = """
import sys
import numpy as np
from tests.tokenreel.tasks import test_evaluation as shared
from tokenreel.tasks import loggers, model_outputs
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor
from tokenreel.tasks.providers import ShardInfo

kind, host, address, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if kind == "jax":
    import jax
    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize(f"127.0.0.1:{address}", 2, host)
else:
    from torch import distributed
    distributed.init_process_group("gloo", init_method=f"file://{directory}/meeting", rank=host, world_size=2)
rows = shared.examples(*[b"e5", b"e6", b"e7", b"e5 e5", b"e6 e6"])
task = shared.task(rows=rows, metric_fns=[shared.sequence_accuracy, shared.total_score])
judge = shared.evaluator(
    task, logger_cls=[loggers.JSONLogger], log_dir=directory,
    shard_info=ShardInfo(host, 2), gather=getattr(model_outputs, "gather_with_" + kind),
)
seen = []

@model_outputs.numpy_model_fn
def predict(dataset):
    indices = [int(index) for index, _ in dataset]
    seen.append(indices)
    return [(index, [[5], [6], [7], [5, 5], [7]][index]) for index in indices]

@model_outputs.numpy_model_fn
def score(dataset):
    return [(index, float(index)) for index, _ in dataset]

found, outputs = shared.evaluate(judge, predict_fn=predict, score_fn=score)
print(seen[0], found["t"]["sequence_accuracy"], float(found["t"]["total_score"]), list(map(list, outputs["t"].values())))
"""


@pytest.mark.parametrize("kind", ["jax", pytest.param("torch", marks=pytest.mark.torch)])
def test_two_hosts_share_an_evaluation(tmp_path, kind):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, "-c", HOST, kind, str(host), port, str(tmp_path)], cwd=layering.ROOT, **pipes)
        for host in range(2)
    ]
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results[0][1][-2000:] + results[1][1][-2000:]
    weights = [sum(map(ord, text)) for text in ("e5", "e6", "e7", "e5 e5", "e6 e6")]
    total = float(np.dot(weights, np.arange(5)))
    same = f"80.0 {total} [[[5], [6], [7], [5, 5], [7]], [0.0, 1.0, 2.0, 3.0, 4.0]]\n"
    assert results[0][0].endswith(f"[0, 2, 4] {same}") and results[1][0].endswith(f"[1, 3] {same}")
    assert len((pathlib.Path(tmp_path) / "t-metrics.jsonl").read_text().splitlines()) == 1, "one host logs"
