"""Decides from measurements whether the memo or the library encodes a text faster."""

from __future__ import annotations

SLICE_BYTES = 2 << 20  # text handled at once: bounds the arrays that a block needs beside its result

TRIAL_BYTES = 256 << 10  # text on which the memo is tried


class Worth:
    """Decides for each slice whether looking up is worth it. It is not where nearly all units are new, as in random bytes.

    Compares CPU time: samples go to the library, and again when looking up slows down, as it does where the text changes. An empty memo is
    slower than the library at first: it may lose as much time as the library takes for `GRACE_BYTES`, and what it gained since, up to that
    much again. Where a slice would lose more, or did, the next ones go to the library, ever more of them, and earn a fiftieth of their time
    for a new trial.
    """

    GRACE_BYTES = 768 << 10
    SAMPLE_BYTES = 128 << 10  # for the library's pace; times of much less say little
    SAMPLE_EVERY = 64 << 20  # bytes looked up
    BYTE_SECONDS, UNIT_SECONDS = 7e-9, 20e-9  # what looking up costs, about

    def __init__(self, new_unit_seconds: float, new_byte_seconds: float) -> None:
        """Takes what a unit costs, about, that is not known, and each of its bytes."""
        self._new_unit_seconds, self._new_byte_seconds = new_unit_seconds, new_byte_seconds
        self._size = self._skip = TRIAL_BYTES
        self._whole = 3 * self.SAMPLE_BYTES  # bytes for the library next; its first sample is slow
        self._library = self._memo = 0.0  # seconds a byte
        self._credit: float | None = None  # seconds
        self._since_sample = 0

    def next_slice(self) -> tuple[int, bool]:
        """Gives the size of the next slice, and whether to look it up."""
        if self._whole:
            return min(self._whole, SLICE_BYTES if self._whole > TRIAL_BYTES * 4 else self.SAMPLE_BYTES), False
        return self._size, True

    def report(self, units: int, size: int, new_units: int, new_bytes: int, long_bytes: int) -> bool:
        """Takes the units and the bytes of a slice, those that are new, and of these what the library encodes; tells whether to go on."""
        cost = units * self.UNIT_SECONDS + size * self.BYTE_SECONDS
        cost += new_units * self._new_unit_seconds + new_bytes * self._new_byte_seconds + long_bytes * self._library
        if cost - self._library * size <= (self._credit or 0.0):
            return True
        self._give_up()
        return False

    def timed(self, used_memo: bool, seconds: float, size: int) -> None:
        """Takes the time of a slice."""
        pace = seconds / max(size, 1)
        if not used_memo:
            self._whole = self._whole - size if self._whole - size > self.SAMPLE_BYTES // 4 else 0
            if size > self.SAMPLE_BYTES // 4:
                self._library = min(pace, 1.1 * self._library or pace)  # what disturbs it only makes it slower
                self._since_sample = 0
                if self._credit is None:
                    self._credit = self.GRACE_BYTES * pace
            if self._credit is not None:
                self._credit += seconds / 50
            return
        gain = self._library * size - seconds
        self._credit = min((self._credit or 0.0) + gain, self.GRACE_BYTES * self._library)
        self._since_sample += size
        if self._credit < 0:
            self._give_up()
        else:
            if pace > 1.3 * self._memo or self._since_sample > self.SAMPLE_EVERY:
                self._whole = max(self._whole, self.SAMPLE_BYTES)
            if gain > 0:
                self._size, self._skip = min(2 * max(self._size, size), SLICE_BYTES), TRIAL_BYTES
        self._memo = pace

    def _give_up(self) -> None:
        self._skip = min(8 * self._skip, 8 * SLICE_BYTES)
        self._size, self._whole = TRIAL_BYTES, self._skip
