"""Event files as TensorBoard itself reads them, and as `tf.summary` would have written them."""

import importlib
import io
import subprocess
import sys
import wave

import numpy as np
import pytest

from tests import buckets
from tokenreel.errors import ConfigError
from tokenreel.tasks import metrics, tensorboard_events

METRICS = {
    "scalar": metrics.Scalar(np.float32(50)),
    "text": metrics.Text("*föö*"),
    "bytes": metrics.Text(b"test2"),
    "image": metrics.Image(np.arange(108, dtype=np.uint8).reshape(3, 3, 4, 3), max_outputs=2),
    "audio": metrics.Audio(np.linspace(-1, 1, 60).reshape(3, 10, 2), sample_rate=8000, max_outputs=2),
    "histogram": metrics.Histogram(np.arange(10), bins=2),
}


def read(directory):
    """Every value in a directory of events, as TensorBoard's own reader gives them: {tag: [(step, array, plugin)]}."""
    module = importlib.import_module("tensorboard.backend.event_processing.event_file_loader")
    tensors = importlib.import_module("tensorboard.util.tensor_util")
    found = {}
    for path in sorted(directory.iterdir()):
        events = list(module.EventFileLoader(str(path)).Load())
        assert events[0].file_version == "brain.Event:2"
        for event in events[1:]:
            for value in event.summary.value:
                array = tensors.make_ndarray(value.tensor)
                found.setdefault(value.tag, []).append((event.step, array, value.metadata.plugin_data.plugin_name))
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("events")
    file = tensorboard_events.EventFile(str(directory))
    for step in (0, 7):
        file.append(step, [tensorboard_events.summary(f"eval/{name}", value) for name, value in METRICS.items()])
    assert len(list(directory.iterdir())) == 1, "one file for a directory"
    return read(directory)


def test_every_kind_is_there_at_every_step(written):
    assert set(written) == {f"eval/{name}" for name in METRICS}
    assert {tuple(step for step, _, _ in values) for values in written.values()} == {(0, 7)}
    plugins = {name: written[f"eval/{name}"][0][2] for name in METRICS}
    expected = {"scalar": "scalars", "text": "text", "bytes": "text", "image": "images", "audio": "audio", "histogram": "histograms"}
    assert plugins == expected


def test_values_are_those_that_were_given(written):
    value = {name: written[f"eval/{name}"][1][1] for name in METRICS}
    assert value["scalar"].tolist() == 50.0
    assert value["text"].reshape(-1)[0].decode() == "*föö*" and value["bytes"].reshape(-1)[0] == b"test2"
    assert value["histogram"].tolist() == [[0.0, 4.5, 5.0], [4.5, 9.0, 5.0]]
    assert value["image"][:2].tolist() == [b"4", b"3"] and len(value["image"]) == 2 + 2
    assert all(image.startswith(b"\x89PNG") for image in value["image"][2:])
    assert len(value["audio"]) == 2
    with wave.open(io.BytesIO(value["audio"][1])) as sound:
        assert (sound.getnframes(), sound.getnchannels(), sound.getframerate()) == (10, 2, 8000)


def test_a_generic_value_goes_to_its_plugin(tmp_path):
    summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
    metadata = summaries.SummaryMetadata(plugin_data=summaries.SummaryMetadata.PluginData(plugin_name="frobber"))
    value = metrics.Generic(np.array([1, 2, 3]), metadata)
    tensorboard_events.EventFile(str(tmp_path)).append(-1, [tensorboard_events.summary("eval/foo", value)])
    ((step, array, plugin),) = read(tmp_path)["eval/foo"]
    assert (step, array.tolist(), plugin) == (-1, [1, 2, 3], "frobber")


def test_a_bucket_gets_a_file_for_each_call(tmp_path):
    with buckets.server() as server:
        file = tensorboard_events.EventFile(f"gs://{buckets.BUCKET}/run/task")
        for step in (1, 2):
            file.append(step, [tensorboard_events.summary("eval/x", metrics.Scalar(step))])
        names = sorted(server.storage.objects[buckets.BUCKET])
        for name in names:
            (tmp_path / name.rpartition("/")[2]).write_bytes(server.storage.get_file(buckets.BUCKET, name))
    assert len(names) == 2 and all(name.startswith("run/task/events.out.tfevents.") for name in names)
    assert [(step, array.tolist()) for step, array, _ in read(tmp_path)["eval/x"]] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (metrics.Image(np.ones(10)), ConfigError, r"metric eval/x: `image` should be \[images, height, width, channels\].*\[10\]"),
        (metrics.Audio(np.ones((2, 3))), ConfigError, r"metric eval/x: `audiodata` should be \[sounds, frames, channels\].*\[2, 3\]"),
        (metrics.Text(3), ConfigError, "metric eval/x: `textdata` should be of the type `str` or `bytes`, got int"),
        (metrics.Generic(np.ones(1), "meta"), ConfigError, "metric eval/x: `metadata` of a Generic should be a SummaryMetadata, got str"),
        (3.0, TypeError, "Value type not understood, got 'float'."),
    ],
)
def test_what_cannot_be_written_is_told(value, error, message):
    with pytest.raises(error, match=message):
        tensorboard_events.summary("eval/x", value)


def test_tensorboard_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    monkeypatch.delitem(sys.modules, "tensorboard.compat.proto.event_pb2", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'tokenreel\[tensorboard\]'"):
        tensorboard_events.messages()


def test_events_are_written_without_tensorflow(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from tokenreel.tasks import metrics, loggers\n"
        f"logger = loggers.TensorBoardLogger({str(tmp_path)!r})\n"
        "values = {'a': metrics.Scalar(1), 'b': metrics.Histogram(np.ones(3)), 'c': metrics.Image(np.ones((1, 2, 2, 1)))}\n"
        "logger('task', 3, values, None, None, None)\n"
        "print(sorted({'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    assert len(list((tmp_path / "task").iterdir())) == 1


@pytest.mark.tensorflow
def test_images_and_sounds_are_those_of_tensorflow():
    import tensorflow as tf

    from tokenreel.tasks import media

    floats = np.random.default_rng(0).uniform(-0.2, 1.2, (4, 5, 3)).astype(np.float32)
    pixels = tf.io.decode_png(media.png(floats)).numpy()
    assert np.array_equal(pixels, tf.image.convert_image_dtype(floats, tf.uint8, saturate=True).numpy())
    sound = np.random.default_rng(0).uniform(-1.2, 1.2, (50, 2)).astype(np.float32)
    assert media.wav(sound, 8000) == tf.audio.encode_wav(sound, 8000).numpy()
