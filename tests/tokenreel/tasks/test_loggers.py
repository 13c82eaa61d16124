import base64
import dataclasses
import json
import logging
import sys

import numpy as np
import pytest

from tests import buckets
from tests.tokenreel.tasks.test_tensorboard_events import read
from tokenreel.errors import ConfigError
from tokenreel.tasks import loggers, metrics

EXAMPLES = [{"inputs_pretokenized": b"i0", "targets": np.array([1, 2])}, {"inputs_pretokenized": b"i1", "targets": np.array([3])}]
INFERENCES = {"prediction": ["pred0", "pred1"], "score": [0.2, np.float32(0.5)], "aux_value": {"rank": [4, 5]}}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def log(logger, step=42, values=None, **more):
    arguments = {"dataset": EXAMPLES, "inferences": INFERENCES, "targets": ["t0", "t1"], **more}
    logger(task_name="test", step=step, metrics=values or {"accuracy": metrics.Scalar(100)}, **arguments)


def test_json_lines_hold_examples_with_what_was_made_of_them(tmp_path):
    log(loggers.JSONLogger(str(tmp_path)))
    assert lines(tmp_path / "test-metrics.jsonl") == [{"step": 42, "accuracy": 100}]
    assert lines(tmp_path / "test-000042.jsonl") == [
        {"input": {"inputs_pretokenized": "i0", "targets": [1, 2]}, "target": "t0", "prediction": "pred0", "score": 0.2, "aux_rank": 4},
        {"input": {"inputs_pretokenized": "i1", "targets": [3]}, "target": "t1", "prediction": "pred1", "score": 0.5, "aux_rank": 5},
    ]


def test_each_evaluation_adds_a_line(tmp_path):
    logger = loggers.JSONLogger(str(tmp_path), write_n_results=0)
    for step, value in ((0, 50), (48, np.float32(0.25)), (None, 1)):
        log(logger, step, {"accuracy": metrics.Scalar(value)})
    assert lines(tmp_path / "test-metrics.jsonl") == [
        {"step": 0, "accuracy": 50},
        {"step": 48, "accuracy": 0.25},
        {"step": -1, "accuracy": 1},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["test-metrics.jsonl"], "no predictions, as asked"


def test_json_lines_in_a_bucket():
    with buckets.server() as server:
        logger = loggers.JSONLogger(f"gs://{buckets.BUCKET}/logs", write_n_results=1)
        log(logger, 1)
        log(logger, 2)
        names = sorted(server.storage.objects[buckets.BUCKET])
        assert names == ["logs/test-000001.jsonl", "logs/test-000002.jsonl", "logs/test-metrics.jsonl"]
        assert len(server.storage.get_file(buckets.BUCKET, names[0]).splitlines()) == 1
        assert len(server.storage.get_file(buckets.BUCKET, names[2]).splitlines()) == 2


def test_every_kind_of_value_stands_in_the_json_lines(tmp_path, caplog):
    values = {
        "scalar": metrics.Scalar(100),
        "text": metrics.Text("foo"),
        "bytes": metrics.Text(b"foo"),
        "image": metrics.Image(np.zeros((2, 1, 1, 3)), max_outputs=1),
        "audio": metrics.Audio(np.zeros((1, 4, 1)), sample_rate=8000),
        "histogram": metrics.Histogram(np.arange(10), bins=2),
        "2d_array": metrics.Generic(np.arange(40).reshape(2, 20), metadata="2d_array"),
        "no image": metrics.Image(np.ones(10)),
    }
    log(loggers.JSONLogger(str(tmp_path), write_n_results=0), values=values)
    (found,) = lines(tmp_path / "test-metrics.jsonl")
    (png,) = found["image"].pop("image/png")
    (wav,) = found["audio"].pop("audio/wav")
    assert base64.b64decode(png)[:4] == b"\x89PNG" and base64.b64decode(wav)[:4] == b"RIFF"
    assert found == {
        "step": 42,
        "scalar": 100,
        "text": "foo",
        "bytes": "foo",
        "image": {},
        "audio": {"sample_rate": 8000},
        "histogram": {"histogram": [[0.0, 4.5, 5.0], [4.5, 9.0, 5.0]]},
        "2d_array": np.arange(40).reshape(2, 20).tolist(),
    }
    assert "metric no image, a Image, is left out" in caplog.text


def test_what_json_does_not_know_is_left_out(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(caplog.handler, "filters", [])  # a command that ran in this process keeps tracebacks from all handlers
    log(loggers.JSONLogger(str(tmp_path)), inferences={"prediction": [object(), "pred1"]}, targets=["t0", {1}])
    first, second = lines(tmp_path / "test-000042.jsonl")
    assert "prediction" not in first and first["target"] == "t0"
    assert second["prediction"] == "pred1" and "target" not in second
    assert "`prediction` is not JSON serializable" in caplog.text


@pytest.mark.parametrize("missing", ["dataset", "inferences", "targets"])
def test_metrics_alone(tmp_path, missing):
    log(loggers.JSONLogger(str(tmp_path)), **{missing: None})
    assert [path.name for path in tmp_path.iterdir()] == ["test-metrics.jsonl"]


@dataclasses.dataclass
class Foo:
    bar: int
    baz: str | None = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1, 2, 3]), "[1, 2, 3]"),
        (np.array([b"a", b"\xff"], dtype=object), '["a", "/w=="]'),
        (np.bool_(True), "true"),
        (np.arange(100, dtype=np.int32), '"ndarray(shape=(100,), dtype=int32); summary: 0, 1, 2, 3, 4 ... 95, 96, 97, 98, 99"'),
        (Foo(1, "bazbaz"), '{"bar": 1, "baz": "bazbaz"}'),
        (Foo(1), '{"bar": 1}'),
    ],
)
def test_encoder(value, expected):
    assert loggers.TensorAndNumpyEncoder().encode(value) == expected


def test_python_log(caplog):
    caplog.set_level(logging.INFO)
    values = {"a": metrics.Scalar(np.float32(0.5)), "b": metrics.Text(b"fine"), "c": metrics.Image(np.ones((1, 2, 2, 1)))}
    log(loggers.PyLoggingLogger("unused"), step=0, values=values)
    assert [record.getMessage() for record in caplog.records] == [
        "test/a at step 0: 0.500",
        "test/b at step 0: fine",
        "test/c at step 0: Image of the shape [1, 2, 2, 1]",
    ]
    caplog.clear()
    log(loggers.PyLoggingLogger("unused", level=logging.ERROR), step=None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert caplog.records[1].getMessage() == "test/accuracy at step -1: 100.000"


def test_tensorboard_has_a_folder_for_each_task(tmp_path):
    logger = loggers.TensorBoardLogger(str(tmp_path))
    log(logger, 1)
    log(logger, 2)
    assert [(step, array.tolist(), plugin) for step, array, plugin in read(tmp_path / "test")["eval/accuracy"]] == [
        (1, 100.0, "scalars"),
        (2, 100.0, "scalars"),
    ]


def test_tensorboard_of_tensorflow_1_takes_numbers_alone(tmp_path):
    logger = loggers.TensorBoardLoggerV1(str(tmp_path))
    log(logger, 1)
    # TensorBoard's reader brings it into today's form.
    assert [(step, array.tolist()) for step, array, _ in read(tmp_path / "test")["eval/accuracy"]] == [(1, 100.0)]
    with pytest.raises(ConfigError, match="metric 'x' should be of type 'Scalar', got 'Text'"):
        log(logger, 2, {"x": metrics.Text("foo")})


def test_a_logger_of_tensorboard_says_at_once_that_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    monkeypatch.delitem(sys.modules, "tensorboard.compat.proto.event_pb2", raising=False)
    with pytest.raises(ConfigError, match="need the package tensorboard"):
        loggers.TensorBoardLogger("logs")
