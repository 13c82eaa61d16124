"""Soaks: chains of many disturbed steps, which must end with the bytes of an undisturbed one.

`python -m tests.soak NAME --count N --seed S` runs one. Each is a module with `run(count, seed)`, which prints what it does and gives a
`Result`, and stands in `SOAKS`.
"""

from __future__ import annotations

import dataclasses

SOAKS = ("bundles", "flips", "handovers", "hostile", "kills", "starved", "storage")  # modules of this package


@dataclasses.dataclass
class Result:
    """How the chains of a soak ended.

    Attributes:
      chains: how many were run.
      identical: those that ended with the bytes of an undisturbed run.
      refused: those that ended with an error that should not be one.
      tracebacks: how many were printed.
    """

    chains: int = 0
    identical: int = 0
    refused: int = 0
    tracebacks: int = 0

    def __str__(self) -> str:
        return f"{self.chains:,} chains: {self.identical:,} identical, {self.refused:,} refused, {self.tracebacks:,} tracebacks"

    @property
    def sound(self) -> bool:
        """Says whether all went well."""
        return self.identical == self.chains and not self.refused and not self.tracebacks
