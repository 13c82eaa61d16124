"""A pytest plugin for SeqIO's own tests: they run as they were installed, with our vocabularies and preprocessors in the place of SeqIO's.

python -m pytest -p tests.interop.seqio_with_our_steps .../site-packages/seqio/vocabularies_test.py
"""

from __future__ import annotations

import sys

import pytest

from tests.interop.seqio_with_our_converters import pytest_runtest_logreport as pytest_runtest_logreport
from tests.interop.seqio_with_our_converters import pytest_sessionfinish as pytest_sessionfinish


def pytest_configure(config: pytest.Config) -> None:
    """Puts our classes and functions in, and does what absl's `main` does before it runs tests."""
    import seqio
    from absl import flags

    from tokenreel.tasks import preprocessors, vocabularies

    flags.FLAGS(sys.argv[:1])
    for ours, theirs in ((vocabularies, seqio.vocabularies), (preprocessors, seqio.preprocessors)):
        for name in vars(theirs):
            if hasattr(ours, name) and getattr(getattr(theirs, name), "__module__", None) == theirs.__name__:
                setattr(theirs, name, getattr(ours, name))
    assert seqio.vocabularies.ByteVocabulary is vocabularies.ByteVocabulary and seqio.preprocessors.tokenize is preprocessors.tokenize
    # Those of `map_over_dataset` are said to be of another module.
    for name in ("rekey", "print_dataset", "truncate_inputs_left", "preprocess_tensorflow_examples"):
        setattr(seqio.preprocessors, name, getattr(preprocessors, name))
