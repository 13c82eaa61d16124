"""Decides from measurements whether the memo or the library encodes a text faster.

    MEASURE ── pace known ──> LOOK_UP ── slows down, or 64 MB later ──> SAMPLE
                               ^ ^ └──── loses more than its credit ──> REST
                               │ └───────────── one sample ───────────── SAMPLE
                               └──────────── its bytes are over ──────── REST

The library encodes what comes in all phases but LOOK_UP.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

SLICE_BYTES = 2 << 20  # text handled at once: bounds the arrays that a block needs beside its result
TRIAL_BYTES = 256 << 10  # text on which the memo is tried


class Phase(enum.Enum):
    """What the next slices of text are for. In each phase but `LOOK_UP` the library encodes a given number of bytes."""

    MEASURE = "measure"  # waits for the library's pace, on three samples, for its first is slow; then LOOK_UP
    LOOK_UP = "look up"  # asks the memo until that slows down or was not compared for long (SAMPLE), or loses too much (REST)
    SAMPLE = "sample"  # waits for one sample of the library's pace, which depends on the text; then LOOK_UP
    REST = "rest"  # waits, longer each time in a row, while the library earns credit for the next trial; then LOOK_UP


class _Now(NamedTuple):
    """The phase, and the bytes that the library encodes before it ends (0 when looking up).

    Threads share a `Worth` without a lock. Both change in one assignment, so that no thread sees one without the other; an update that
    gets lost costs one decision a little time, and never an id.
    """

    phase: Phase
    left: int


class Worth:
    """Decides for each slice whether looking up is worth it. It is not where nearly all units are new, as in random bytes.

    CPU times are compared: the library's on samples, the memo's on what it encodes. An empty memo is slower than the library at first, so
    it has a credit of time to lose: what the library takes for `GRACE_BYTES`, and later what it gained, up to that much. It loses a trial
    where a slice would take, or took, more than the credit. Then the library encodes eight times as much as after the last trial it lost,
    and earns a fiftieth of its time as credit: so trials slow random bytes by some two percent, however long they go on.
    """

    GRACE_BYTES = 768 << 10
    SAMPLE_BYTES = 128 << 10  # for the library's pace; times of much less say little
    SAMPLE_EVERY = 64 << 20  # bytes looked up
    BYTE_SECONDS, UNIT_SECONDS = 7e-9, 20e-9  # what looking up costs, about

    def __init__(self, new_unit_seconds: float, new_byte_seconds: float) -> None:
        """Begins to measure.

        Args:
          new_unit_seconds: what encoding a unit costs that the memo does not hold, about.
          new_byte_seconds: what each of its bytes costs beside that.
        """
        self._new_unit_seconds, self._new_byte_seconds = new_unit_seconds, new_byte_seconds
        self._now = _Now(Phase.MEASURE, 3 * self.SAMPLE_BYTES)
        self._size = TRIAL_BYTES  # of the next slice that is looked up
        self._rest = TRIAL_BYTES  # bytes of the last rest; the next one is eight times as long
        self._library_pace = self._memo_pace = 0.0  # seconds a byte; the memo's is that of its last slice
        self._credit: float | None = None  # seconds; None until the library's pace is known
        self._since_sample = 0  # bytes looked up

    @property
    def phase(self) -> Phase:
        """What the next slice is for."""
        return self._now.phase

    def next_slice(self) -> tuple[int, bool]:
        """Gives the bytes of the next slice, and whether to look it up."""
        phase, left = self._now
        if phase is Phase.LOOK_UP:
            return self._size, True
        # A long rest goes in large slices, and ends in samples, for its pace is taken too.
        return min(left, SLICE_BYTES if left > TRIAL_BYTES * 4 else self.SAMPLE_BYTES), False

    def report(self, units: int, size: int, new_units: int, new_bytes: int, long_bytes: int) -> bool:
        """Tells whether to go on with a slice, once it is known how much of it is new: before the memo has lost much time on it.

        Args:
          units: of the slice.
          size: its bytes.
          new_units: units that the memo does not hold.
          new_bytes: their bytes.
          long_bytes: of these, what the library encodes.
        """
        cost = units * self.UNIT_SECONDS + size * self.BYTE_SECONDS
        cost += new_units * self._new_unit_seconds + new_bytes * self._new_byte_seconds + long_bytes * self._library_pace
        if cost - self._library_pace * size <= (self._credit or 0.0):
            return True
        self._lose_trial()
        return False

    def timed(self, used_memo: bool, seconds: float, size: int) -> None:
        """Takes the CPU time of a slice of `size` bytes, and moves on to the next phase if that is due."""
        if used_memo:
            self._timed_memo(seconds, size)
        else:
            self._timed_library(seconds, size)

    def _timed_library(self, seconds: float, size: int) -> None:
        phase, left = self._now
        # A rest of less than a quarter of a sample is not waited for: its pace would say nothing.
        worth_waiting = left - size > self.SAMPLE_BYTES // 4
        self._now = _Now(phase, left - size) if worth_waiting else _Now(Phase.LOOK_UP, 0)
        if size > self.SAMPLE_BYTES // 4:
            pace = seconds / size
            # What disturbs a measurement only makes it slower, so the lowest counts; a tenth more each time, for text changes.
            self._library_pace = min(pace, 1.1 * self._library_pace or pace)
            self._since_sample = 0
            if self._credit is None:
                self._credit = self.GRACE_BYTES * pace
        if self._credit is not None:
            self._credit += seconds / 50

    def _timed_memo(self, seconds: float, size: int) -> None:
        pace = seconds / max(size, 1)
        gain = self._library_pace * size - seconds
        self._credit = min((self._credit or 0.0) + gain, self.GRACE_BYTES * self._library_pace)
        self._since_sample += size
        if self._credit < 0:
            self._lose_trial()
        else:
            due = pace > 1.3 * self._memo_pace or self._since_sample > self.SAMPLE_EVERY
            if due and self._now.left < self.SAMPLE_BYTES:  # unless another thread rests for longer
                self._now = _Now(Phase.SAMPLE, self.SAMPLE_BYTES)
            if gain > 0:
                self._size, self._rest = min(2 * max(self._size, size), SLICE_BYTES), TRIAL_BYTES
        self._memo_pace = pace

    def _lose_trial(self) -> None:
        self._rest = min(8 * self._rest, 8 * SLICE_BYTES)
        self._size = TRIAL_BYTES
        self._now = _Now(Phase.REST, self._rest)
