"""Our evaluation held to SeqIO's: its own tests run against our Evaluator, metrics and loggers.

The nine tests of SeqIO's Evaluator that use it as a user does run as they are. The others patch its constructor and fill in its private
fields; they are restated, with their numbers, in tests/tokenreel/tasks/test_evaluation.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.interop

BLACK_BOX = (
    "test_initialize_loggers",
    "test_short_inputs_targets",
    "test_no_sequence_length",
    "test_partial_sequence_length",
    "test_requires_sequence_length",
    "test_preprocessor_with_optional_sequence_length",
    "test_caching",
    "test_task_with_no_metrics_fn",
    "test_task_with_no_compute_metrics",
)


def test_seqios_own_tests_pass(run_seqios_tests: Callable[..., dict[str, str]], counted: Callable[[str, int, int], None]) -> None:
    tests = [f"evaluation_test.py::EvaluationTest::{name}" for name in BLACK_BOX]
    outcomes = run_seqios_tests("seqio_with_our_evaluator", *tests, "metrics_test.py", "loggers_test.py")
    outcomes = {name: outcome for name, outcome in outcomes.items() if not name.endswith("test_session")}  # TensorFlow's own
    groups = {"black-box evaluation": "EvaluationTest", "metrics": "Metrics", "loggers": "Logger"}
    passed = {}
    for line, part in groups.items():
        mine = [outcome for name, outcome in outcomes.items() if part in name.split("::")[0]]
        passed[line] = (mine.count("passed"), len(mine))
        counted(f"{line}, SeqIO's own tests", *passed[line])
    failed = {name for name, outcome in outcomes.items() if outcome != "passed"}
    assert not failed and passed == {"black-box evaluation": (9, 9), "metrics": (4, 4), "loggers": (24, 24)}
