"""Features that are no tokens: frames of audio to text, and an image as a sequence of patches; padded, packed and evaluated."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import tokenreel.tasks as seqio
from tokenreel.errors import ConfigError

FRAMES = seqio.FeatureConverter.FeatureSpec(np.float32, rank=2)
VOCABULARY = seqio.PassThroughVocabulary(100)


class FramesToText(seqio.EncDecFeatureConverter):
    """The encoder reads frames or patches of numbers."""

    TASK_FEATURES: ClassVar[Any] = {**seqio.EncDecFeatureConverter.TASK_FEATURES, "inputs": FRAMES}
    MODEL_FEATURES: ClassVar[Any] = {**seqio.EncDecFeatureConverter.MODEL_FEATURES, "encoder_input_tokens": FRAMES}


def audio(split: str, shuffle_files: bool) -> list[dict[str, Any]]:
    """Three recordings of 2, 3 and 4 frames; the first is silent."""
    return [{"inputs": np.full((frames, 2), frames - 2, np.float32), "targets": [frames, 1]} for frames in (2, 3, 4)]


def images(split: str, shuffle_files: bool) -> list[dict[str, Any]]:
    return [{"image": np.arange(16, dtype=np.float32).reshape(4, 4), "targets": [7, 1]}] * 2


@seqio.numpy_preprocessor
def as_patches(dataset: Any) -> Any:
    """Cuts images into squares of 2 x 2, row by row."""

    def cut(example: dict[str, Any]) -> dict[str, Any]:
        height, width = (size // 2 for size in example["image"].shape)
        patches = example["image"].reshape(height, 2, width, 2).swapaxes(1, 2).reshape(height * width, 4)
        return {"inputs": patches, "targets": example["targets"]}

    return dataset.map(cut)


def task(name: str, read: Any, steps: Any = (), **more: Any) -> seqio.Task:
    features = {"inputs": seqio.ContinuousFeature(dtype=np.float32, rank=2), "targets": seqio.Feature(VOCABULARY)}
    source = seqio.FunctionDataSource(read, splits=["train", "validation"])
    return seqio.Task(name, source=source, preprocessors=list(steps), output_features=features, **more)


@pytest.mark.parametrize("length", [6, (6, 2)])
def test_frames_are_padded_and_packed(length: Any) -> None:
    lengths = {"inputs": length, "targets": 5}
    padded = list(seqio.get_dataset(task("audio", audio), lengths, FramesToText(pack=False)))
    assert [row["encoder_input_tokens"].shape for row in padded] == [(6, 2)] * 3
    assert padded[2]["encoder_input_tokens"][:, 0].tolist() == [2, 2, 2, 2, 0, 0]
    first, second = seqio.get_dataset(task("audio", audio), lengths, FramesToText(pack=True))
    assert first["encoder_segment_ids"].tolist() == [1, 1, 2, 2, 2, 0], "silence is no padding"
    assert first["encoder_input_tokens"].tolist() == [[0, 0]] * 2 + [[1, 1]] * 3 + [[0, 0]]
    assert first["decoder_target_tokens"].tolist() == [2, 1, 3, 1, 0] and first["decoder_input_tokens"].tolist() == [0, 2, 0, 3, 0]
    assert second["encoder_positions"].tolist() == [0, 1, 2, 3, 0, 0]


def test_only_the_first_axis_is_packed() -> None:
    with pytest.raises(ConfigError, match=r"feature 'inputs' cannot be packed into \(6, 3\): its positions have the shape \(2,\)"):
        list(FramesToText()(seqio.ExampleStream.from_examples(audio("", False)), {"inputs": (6, 3), "targets": 5}))


def test_an_image_is_a_sequence_of_patches() -> None:
    image_task = task("image", images, [as_patches])
    (row,) = seqio.get_dataset(image_task, {"inputs": 8, "targets": 4}, FramesToText())
    assert row["encoder_segment_ids"].tolist() == [1] * 4 + [2] * 4
    assert row["encoder_input_tokens"][:4].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.tensorflow
def test_models_on_frames_are_evaluated() -> None:
    def exact(targets: Any, predictions: Any) -> dict[str, float]:
        return {"exact": float(np.mean([list(a) == list(b) for a, b in zip(targets, predictions, strict=True)]))}

    evaluator = seqio.Evaluator(
        task("heard", audio, metric_fns=[exact]),
        feature_converter=FramesToText(pack=False),
        eval_split="validation",
        sequence_length={"inputs": 4, "targets": 2},
    )

    def predict(dataset: Any) -> list[tuple[int, list[int]]]:
        """Says how loud a recording is, which its text is but for 2."""
        return [(int(number), [int(row["encoder_input_tokens"].max()) + 2, 1]) for number, row in dataset.as_numpy_iterator()]

    metrics, _ = evaluator.evaluate(compute_metrics=True, step=0, predict_fn=predict)
    result = metrics.result()["heard"]["exact"]
    assert float(getattr(result, "value", result)) == 1
