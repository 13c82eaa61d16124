"""What a runner encodes: the elements of a job, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.coders import coder_impl, coders

LARGEST = 1 << 16


@dataclasses.dataclass
class Elements:
    """The elements that a job encoded.

    Attributes:
      count: their number.
      largest: bytes of the largest.
      what: that one, shortened.
      naming: only elements are looked at in which this stands.
    """

    count: int = 0
    largest: int = 0
    what: str = ""
    naming: str = ""


@pytest.fixture
def elements(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elements]:
    """Measures what the runner encodes, in this process: elements of collections, side inputs, and what combiners hand on."""
    found = Elements()

    class Measured(coder_impl.WindowedValueCoderImpl):  # type: ignore[misc]
        def encode_to_stream(self, value: Any, out: Any, nested: bool) -> None:
            before = out.size()
            super().encode_to_stream(value, out, nested)
            found.count += 1
            if out.size() - before > found.largest and found.naming in repr(value):
                found.largest, found.what = out.size() - before, repr(value)[:500]

    def create(self: Any) -> Any:
        return Measured(self.wrapped_value_coder.get_impl(), self.timestamp_coder.get_impl(), self.window_coder.get_impl())

    monkeypatch.setattr(coders.WindowedValueCoder, "_create_impl", create)
    yield found
