"""A pytest plugin for SeqIO's own tests: they run as they were installed, with our converters in the place of SeqIO's.

    python -m pytest -p tests.interop.seqio_with_our_converters .../site-packages/seqio/feature_converters_test.py

SeqIO's base class stays, since its tests of that look at private functions. SeqIO's tests rest on its answers, so ours give those
(`compat="seqio"`).
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any

import pytest

_outcomes: dict[str, str] = {}


def _with_their_answers(converter: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        converter.__init__(self, *args, compat="seqio", **kwargs)

    # Their tests take features out of a class after they have put some in.
    features = {name: dict(getattr(converter, name)) for name in ("TASK_FEATURES", "MODEL_FEATURES", "PACKING_FEATURE_DTYPES")}
    return type(converter.__name__, (converter,), {"__init__": __init__, **features})


def pytest_configure(config: pytest.Config) -> None:
    """Puts our classes in, and does what absl's `main` does before it runs tests."""
    import seqio
    from absl import flags

    from tokenreel.tasks import feature_converters as ours

    flags.FLAGS(sys.argv[:1])
    theirs = seqio.feature_converters
    for name in vars(ours):
        if name.endswith("FeatureConverter") and name != "FeatureConverter":
            replacement = _with_their_answers(getattr(ours, name))
            theirs.FeatureConverter.register(replacement)  # `get_dataset` asks whether it is one
            setattr(theirs, name, replacement)
            setattr(seqio, name, replacement)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes how each test ended."""
    if report.when == "call" or not report.passed:
        _outcomes[report.nodeid.split("::", 1)[1]] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the outcomes to where the test that began this run reads them."""
    pathlib.Path(os.environ["TOKENREEL_OUTCOMES"]).write_text(json.dumps(_outcomes), encoding="utf-8")
