"""A pytest plugin for SeqIO's own tests of evaluation: they run as they were installed, with our classes in the place of SeqIO's.

    python -m pytest -p tests.interop.seqio_with_our_evaluator .../site-packages/seqio/evaluation_test.py -k short_inputs

Ours are the Evaluator, its converter, tasks, features and sources, metrics and loggers. Vocabularies and steps stay SeqIO's.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.seqio_with_our_converters import pytest_runtest_logreport as pytest_runtest_logreport
from tests.interop.seqio_with_our_converters import pytest_sessionfinish as pytest_sessionfinish
from tokenreel.tasks import ExampleStream, evaluation, feature_converters, loggers, metrics
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.task import Task, TaskRegistry


class Evaluator(evaluation.Evaluator):
    """Ours, with the private names that SeqIO's tests look at."""

    _loggers = property(lambda self: self.loggers)
    _cached_task_datasets = property(lambda self: self.cached_task_datasets)
    _cached_model_datasets = property(lambda self: self.cached_model_datasets)


def pytest_configure(config: pytest.Config) -> None:
    """Puts our classes in, and lets SeqIO's helpers take our streams."""
    import sys

    import seqio
    from absl import flags
    from seqio import test_utils, utils

    flags.FLAGS(sys.argv[:1])
    for found in (Task, TaskRegistry, FunctionDataSource, Feature):
        setattr(seqio.dataset_providers, found.__name__, found)
    seqio.evaluation.Evaluator = Evaluator
    seqio.evaluation.EncDecFeatureConverter = feature_converters.EncDecFeatureConverter
    for theirs, ours in ((seqio.metrics, metrics), (seqio.loggers, loggers)):
        for name in vars(ours).keys() & vars(theirs).keys():
            if isinstance(getattr(ours, name), type) or name in ("remove_padding_examples", "globally_sort_model_output"):
                setattr(theirs, name, getattr(ours, name))

    assert_dataset, trim_and_pad_dataset = test_utils.assert_dataset, utils.trim_and_pad_dataset

    def assert_stream(dataset: Any, *args: Any, **kwargs: Any) -> None:
        assert_dataset(dataset.to_tf_data() if isinstance(dataset, ExampleStream) else dataset, *args, **kwargs)

    def trim_and_pad_stream(dataset: Any, lengths: Any) -> Any:
        if isinstance(dataset, ExampleStream):
            return ExampleStream.from_tf_data(trim_and_pad_dataset(dataset.to_tf_data(), lengths))
        return trim_and_pad_dataset(dataset, lengths)

    test_utils.assert_dataset, utils.trim_and_pad_dataset = assert_stream, trim_and_pad_stream
