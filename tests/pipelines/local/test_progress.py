"""What a command says while it works costs little time."""

from __future__ import annotations

import threading
import time

import pytest

from pipelines import local
from tokenreel.errors import StorageError


def test_looking_takes_a_small_part_of_the_time_and_delays_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[float] = []
    stuck = threading.Event()

    def report() -> str:
        asked.append(time.monotonic())
        if len(asked) == 2:
            raise StorageError("gs://b: the storage kept failing")
        if len(asked) == 4:
            stuck.wait(60)
        time.sleep(0.004)
        return f"look {len(asked)}"

    began = time.monotonic()
    with local.show_progress(report, 0.001):
        while len(asked) < 4:
            assert time.monotonic() < began + 120
            time.sleep(0.01)
        ended = time.monotonic()
    assert not stuck.is_set() and time.monotonic() - ended < 50, "the last look was waited for"
    stuck.set()
    assert asked[1] - asked[0] >= 0.2, "a look of 4 ms was repeated within 0.2 s"
    printed = capsys.readouterr().err
    assert "look 1" in printed and "progress is unknown (gs://b: the storage kept failing)" in printed and "look 3" in printed
    assert "look 4" not in printed
