"""Features that no vocabulary made, from bytes to metrics: frames of sound read as text, and an image read as a sequence of its pixels.

Both are cached by the command, read from the cache, converted, packed, and evaluated.
"""

from typing import ClassVar

import numpy as np
import pytest

import tokenreel.tasks as seqio
from pipelines import cache_tasks
from tokenreel.tasks import cache_directories

FRAME, NUMBER = 8, 6
TEXT = seqio.ByteVocabulary()
PIXELS = seqio.PassThroughVocabulary(257)
LENGTHS = {"inputs": 12, "targets": 10}


def samples(number):
    """Sound of 16 bits: 3 to 5 frames of one wave or of three."""
    times = np.arange(FRAME * (3 + number % 3)) + 0.5
    return np.round(20_000 * np.sin(times * 2 * np.pi * (1 if number % 2 else 3) / FRAME)).astype("<i2")


def sounds(split, shuffle_files):
    return [{"samples": samples(n).tobytes(), "word": b"low" if n % 2 else b"high"} for n in range(NUMBER)]


def images(split, shuffle_files):
    return [{"pixels": np.full((3, 4), n, np.uint8), "word": b"odd" if n % 2 else b"even"} for n in range(NUMBER)]


@seqio.map_examples
def frames(example):
    """Cuts samples into [frames, FRAME] floats from -1 to 1."""
    values = np.frombuffer(example["samples"], dtype="<i2").astype(np.float32) / 32768
    return {"inputs": values.reshape(-1, FRAME), "targets": example["word"]}


@seqio.map_examples
def pixels_in_rows(example):
    """Writes the pixels one row after another; 0 stays padding."""
    return {"inputs": example["pixels"].reshape(-1).astype(np.int32) + 1, "targets": example["word"]}


@seqio.map_examples
def spell(example):
    return {**example, "targets": np.array(TEXT.encode(example["targets"].decode()), np.int32), "targets_pretokenized": example["targets"]}


def exact_match(targets, predictions):
    return {"exact_match": float(np.mean([target == text for target, text in zip(targets, predictions, strict=True)]))}


def mean_score(targets, scores):
    return {"mean_score": float(np.mean(scores))}


def register(name, source, step, inputs):
    return seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(source, splits=["train"]),
        preprocessors=[step, spell, seqio.CacheDatasetPlaceholder(), seqio.preprocessors.append_eos],
        output_features={"inputs": inputs, "targets": seqio.Feature(TEXT)},
        metric_fns=[exact_match, mean_score],
    )


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory):
    """Registers both tasks, and caches them."""
    before = cache_directories.get_global_cache_dirs()
    register("frames_to_text", sounds, frames, seqio.ContinuousFeature(dtype=np.float32, rank=2))
    register("image_as_sequence", images, pixels_in_rows, seqio.Feature(PIXELS, add_eos=False))
    directory = str(tmp_path_factory.mktemp("cache"))
    options = ["--module_import", __name__, "--output_cache_dir", directory, "--direct_num_workers=1"]
    assert cache_tasks.main(["--tasks", "frames_to_text", "image_as_sequence", *options]) == 0
    seqio.set_global_cache_dirs([directory])
    yield
    seqio.set_global_cache_dirs(before)
    for name in ("frames_to_text", "image_as_sequence"):
        seqio.TaskRegistry.remove(name)


class FramesToText(seqio.EncDecFeatureConverter):
    """The encoder reads frames, the decoder predicts text."""

    TASK_FEATURES: ClassVar = seqio.EncDecFeatureConverter.TASK_FEATURES | {
        "inputs": seqio.FeatureConverter.FeatureSpec(np.float32, rank=2),
    }
    MODEL_FEATURES: ClassVar = seqio.EncDecFeatureConverter.MODEL_FEATURES | {
        "encoder_input_tokens": seqio.FeatureConverter.FeatureSpec(np.float32, rank=2),
    }


def in_order(stream):
    """The examples in an order of their own: a cache has another than its source."""
    return sorted(
        stream, key=lambda example: (bytes(example["targets_pretokenized"]), example["inputs"].shape, example["inputs"].tobytes())
    )


@pytest.mark.parametrize("name", ["frames_to_text", "image_as_sequence"])
def test_the_cache_holds_what_the_task_makes(name):
    task = seqio.get_mixture_or_task(name)
    made, read = (in_order(task.get_dataset(None, "train", use_cached=cached, shuffle=False)) for cached in (False, True))
    assert len(made) == len(read) == NUMBER
    for one, other in zip(made, read, strict=True):
        assert set(one) == set(other)
        for feature in ("inputs", "targets"):
            assert one[feature].dtype == other[feature].dtype and np.array_equal(one[feature], other[feature])


def test_frames_share_rows():
    rows = list(seqio.get_dataset("frames_to_text", LENGTHS, FramesToText(pack=True), use_cached=True))
    found = []
    for row in rows:
        assert row["encoder_input_tokens"].shape == (12, FRAME) and row["encoder_input_tokens"].dtype == np.float32
        real = row["encoder_segment_ids"] > 0
        assert not row["encoder_input_tokens"][~real].any()
        for segment in range(1, row["encoder_segment_ids"].max() + 1):
            place = row["encoder_segment_ids"] == segment
            assert row["encoder_positions"][place].tolist() == list(range(place.sum()))
            found.append(
                (row["encoder_input_tokens"][place].tobytes(), row["decoder_target_tokens"][row["decoder_segment_ids"] == segment])
            )
    assert len(rows) < NUMBER == len(found)
    words = {(samples(n).astype(np.float32) / 32768).tobytes(): b"low" if n % 2 else b"high" for n in range(NUMBER)}
    assert {sound: TEXT.decode(text.tolist()).encode() for sound, text in found} == words


def test_an_image_and_its_word_share_a_row():
    rows = list(seqio.get_dataset("image_as_sequence", LENGTHS, seqio.PrefixLMFeatureConverter(pack=True), use_cached=True))
    found = set()
    for row in rows:
        for segment in range(1, row["decoder_segment_ids"].max() + 1):
            tokens = row["decoder_target_tokens"][row["decoder_segment_ids"] == segment]
            weights = row["decoder_loss_weights"][row["decoder_segment_ids"] == segment]
            assert not weights[:12].any() and weights[12:].all(), "the loss is on the word alone"
            found.add((int(tokens[0]) - 1, TEXT.decode(tokens[12:].tolist())))
    assert found == {(n, "odd" if n % 2 else "even") for n in range(NUMBER)}


@seqio.numpy_model_fn
def hear(dataset):
    """Counts how often a frame changes its sign: once or twice in a slow wave."""
    found = []
    for indices, batch in dataset.batch(4):
        changes = np.abs(np.diff(np.sign(batch["encoder_input_tokens"][:, 0]), axis=1)).sum(axis=1) / 2
        found += [(index, TEXT.encode("low" if count < 3 else "high")) for index, count in zip(indices, changes, strict=True)]
    return found


@seqio.numpy_model_fn
def see(dataset):
    """Says what the first pixel is; always "even" from 3 on."""
    return [(i, TEXT.encode("odd" if row["decoder_target_tokens"][0] - 1 in (1, 3) else "even")) for i, row in dataset]


@seqio.numpy_model_fn
def score(dataset):
    """As many as there are target tokens."""
    return [(index, int(row["decoder_loss_weights"].sum())) for index, row in dataset]


@pytest.mark.parametrize(
    ("name", "converter", "predict", "expected"),
    [
        ("frames_to_text", FramesToText(pack=False), hear, {"exact_match": 1.0, "mean_score": 4.5}),
        ("image_as_sequence", seqio.PrefixLMFeatureConverter(pack=False), see, {"exact_match": 5 / 6, "mean_score": 4.5}),
    ],
)
def test_a_model_is_evaluated(name, converter, predict, expected):
    evaluator = seqio.Evaluator(name, converter, eval_split="train", use_cached=True)
    future, _ = evaluator.evaluate(compute_metrics=True, predict_fn=predict, score_fn=score)
    assert future.result() == {name: pytest.approx(expected)}
    shapes = {shape for feature, shape in evaluator.model_feature_shapes.items() if feature == "encoder_input_tokens"}
    assert shapes == ({(5, FRAME)} if name == "frames_to_text" else set())
