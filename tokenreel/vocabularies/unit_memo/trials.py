"""Which parts of a text are left to the library without a look, where looking did not pay."""

from __future__ import annotations

_FIRST_SLICE, _LARGEST_SLICE = 1 << 14, 1 << 18  # bytes that are looked at together: at first, and where that pays
_FIRST_REST, _LONGEST_REST = 1 << 19, 1 << 23  # bytes that are left to the library: where one slice was, and where many were
_REST_PER_SLICE = 32  # times the bytes of the slice that is looked at after it; to look at a small one takes as long as the library takes


class Trials:
    """Counts bytes, and asks no clock. One caller at a time."""

    def __init__(self) -> None:
        """Begins with a small slice."""
        self._slice, self._rest, self._resting, self._rested = _FIRST_SLICE, 0, 0, 0

    def begin(self) -> tuple[bool, int]:
        """Tells whether the next slice is looked at, and how many bytes it should have."""
        return (False, self._resting) if self._resting > 0 else (True, self._slice)

    def end(self, looked: bool, size: int, left: int) -> None:
        """Takes how many bytes the slice had that `begin` told of, and how many of them were left to the library."""
        if not looked:
            self._resting -= size
            self._rested += size
        elif 2 * left <= size:
            self._rest, self._slice = 0, min(2 * self._slice, _LARGEST_SLICE)
        else:
            self._rest = min(max(2 * self._rest, _FIRST_REST), _LONGEST_REST)
            self._resting, self._slice = self._rest, min(self._rest // _REST_PER_SLICE, _LARGEST_SLICE)

    def take_rested(self) -> int:
        """Gives the bytes that were not looked at since this was last asked."""
        rested, self._rested = self._rested, 0
        return rested
