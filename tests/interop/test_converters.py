"""Our feature converters held to SeqIO's: its own tests run against them, and random data sets give the same rows."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tokenreel.tasks import ExampleStream, feature_converters

pytestmark = pytest.mark.interop

PRIVATE = {"PrefixLMFeatureConverter::test_convert_example"}
"""Calls a private method with tensors and wants tensors back; ours works on arrays."""

OF_GET_DATASET = "GetDatasetTest"


def test_seqios_own_tests_pass(run_seqios_tests: Callable[..., dict[str, str]], counted: Callable[[str, int, int], None]) -> None:
    outcomes = run_seqios_tests("seqio_with_our_converters", "feature_converters_test.py", f"dataset_providers_test.py::{OF_GET_DATASET}")
    skipped = {name for name, outcome in outcomes.items() if outcome == "skipped"}
    assert {name.split("::")[1] for name in skipped} == {"test_session"}, "TensorFlow's own, 'not a test'"
    for line, ours in (("converters", False), ("GetDataset", True)):
        mine = {name: outcome for name, outcome in outcomes.items() if name.startswith(OF_GET_DATASET) == ours and name not in skipped}
        failed = {name for name, outcome in mine.items() if outcome != "passed"}
        counted(f"{line}, SeqIO's own tests", len(mine) - len(failed), len(mine))
        assert failed == (set() if ours else PRIVATE) and len(mine) == (14 if ours else 84)


EXAMPLES, PAIRS = ("targets",), ("inputs", "targets")
PACKED = tuple(name + suffix for name in PAIRS for suffix in ("", "_segment_ids", "_positions"))
CONVERTERS = {  # what each takes, and what it is made with
    "EncDecFeatureConverter": (PAIRS, ("bos_id", "passthrough_features")),
    "LMFeatureConverter": (EXAMPLES, ("bos_id",)),
    "PrefixLMFeatureConverter": (PAIRS, ("bos_id", "loss_on_targets_only", "passthrough_features")),
    "PrefixSuffixLMFeatureConverter": ((*PAIRS, "suffixes"), ("bos_id", "loss_on_targets_only")),
    "DecoderFeatureConverter": ((*PAIRS, "suffixes"), ("bos_id", "loss_on_targets_only")),
    "EncoderFeatureConverter": (PAIRS, ("mask_id",)),
    "PrePackedEncDecFeatureConverter": (PACKED, ("bos_id",)),
    "PrePackedLMFeatureConverter": (EXAMPLES, ()),
    "PrePackedPrefixLMFeatureConverter": (PAIRS, ()),
    "PassThroughFeatureConverter": (PAIRS, ()),
}
CASES = [(name, pack) for name in CONVERTERS for pack in (False, True) if not pack or not name.startswith(("PrePacked", "Pass"))]
PARTS, SETTINGS, DATA_SETS = 5, 10, 20


@dataclasses.dataclass
class Case:
    """One converter with its arguments, and how long each feature of its examples is: at least, and at most."""

    name: str
    arguments: dict[str, Any]
    lengths: dict[str, int]
    taken: dict[str, tuple[int, int]]

    def examples(self, draw: random.Random) -> list[dict[str, Any]]:
        """Draws up to twelve examples, with empty features and zeros among the tokens."""
        zeros = draw.choice([0.0, 0.1, 0.5])

        def feature(least: int, most: int) -> Any:
            values = [0 if draw.random() < zeros else draw.randint(1, 9) for _ in range(draw.randint(least, most))]
            return np.array(values, np.int32)

        return [{name: feature(*bounds) for name, bounds in self.taken.items()} for _ in range(draw.randint(0, 12))]

    def converter(self, module: Any, **more: Any) -> Any:
        """Makes the converter, SeqIO's or ours."""
        import tensorflow as tf

        arguments = {**self.arguments, **more}
        if "passthrough_features" in arguments:
            arguments["passthrough_features"] = {"beside": module.FeatureConverter.FeatureSpec(dtype=tf.int32)}
        return getattr(module, self.name)(**arguments)


def make_case(number: int) -> Case:
    """Draws the arguments of a converter, and lengths of 1 to 8."""
    draw = random.Random(number)
    name, pack = CASES[number % len(CASES)]
    features, settings = CONVERTERS[name]
    if name == "DecoderFeatureConverter":
        features = draw.choice([EXAMPLES, PAIRS, features])
    arguments: dict[str, Any] = {"pack": pack, "apply_length_check": draw.random() < 0.7}
    values = {"bos_id": draw.choice([0, 0, 5]), "mask_id": draw.choice([0, 3]), "loss_on_targets_only": draw.random() < 0.5}
    arguments |= {setting: value for setting, value in values.items() if setting in settings}
    lengths = {feature: draw.randint(1, 8) for feature in features}
    if not pack and "passthrough_features" in settings and draw.random() < 0.5:
        arguments["passthrough_features"] = ...
        lengths["beside"] = draw.randint(1, 4)
    if name == "EncoderFeatureConverter":
        lengths["targets"] = lengths["inputs"]
    if name == "PrePackedEncDecFeatureConverter":
        lengths = {feature: lengths[feature.split("_")[0]] for feature in features}
    over = 0 if arguments["apply_length_check"] else 3
    taken = {feature: (0, length + over) for feature, length in lengths.items()}
    if name in ("PrePackedLMFeatureConverter", "PrePackedPrefixLMFeatureConverter"):
        whole = sum(lengths.values())
        taken = dict.fromkeys(getattr(feature_converters, name).BATCH_FEATURES, (whole, whole))
    return Case(name, arguments, lengths, taken)


def as_lists(rows: Any) -> list[dict[str, Any]]:
    return [{name: (array.dtype.name, array.tolist()) for name, array in row.items()} for row in rows.as_numpy_iterator()]


@pytest.mark.parametrize("part", range(PARTS))
def test_random_data_sets_give_seqios_rows(part: int, counted: Callable[[str, int, int], None]) -> None:
    import seqio
    import tensorflow as tf

    equal = 0
    for number in range(part * SETTINGS, (part + 1) * SETTINGS):
        case, draw, examples = make_case(number), random.Random(-1 - number), list[dict[str, Any]]()
        # TensorFlow takes a second to make the graph of a converter, and a moment to run it: so it reads one data set after another.
        signature = {name: tf.TensorSpec([None], tf.int32) for name in case.taken}
        dataset = tf.data.Dataset.from_generator(lambda examples=examples: iter(examples), output_signature=signature)
        theirs = case.converter(seqio.feature_converters)(dataset, case.lengths)
        ours = case.converter(feature_converters, compat="seqio")
        for _ in range(DATA_SETS):
            examples[:] = case.examples(draw)
            stream = ExampleStream.from_examples(examples)
            assert as_lists(ours(stream, case.lengths)) == as_lists(theirs), (number, case, examples)
            equal += 1
    counted("fuzz, every converter, packed and not", equal, SETTINGS * DATA_SETS)
