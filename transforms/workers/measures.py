"""What a job counts for whoever watches it, and what its workers write to its log.

Counts are those of attempts: work that a service does twice counts twice. They are for people; what a manifest says comes from the data.
docs/operations.md has the table of them.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from apache_beam.metrics import Metrics

from tokenreel.storage.redaction import redact
from tokenreel.wording import plain

NAMESPACE = "tokenreel"
_LOG = logging.getLogger("tokenreel.workers")
_MOST_FILES = 3  # that a line names: small files share a block by hundreds
_T = TypeVar("_T")


def count(name: str, amount: int = 1) -> None:
    """Adds to a counter of the job."""
    if amount:
        Metrics.counter(NAMESPACE, name).inc(int(amount))


def count_each(prefix: str, amounts: Mapping[str, int]) -> None:
    """Adds to a counter for each reason."""
    for reason, amount in amounts.items():
        count(f"{prefix}-{reason}", amount)


def some(names: Iterable[str]) -> list[str]:
    """Gives the first names of many, and how many there are beside them."""
    every = list(names)
    more = len(every) - _MOST_FILES
    return every[:_MOST_FILES] + ([f"and {more:,} more"] if more > 0 else [])


class Task:
    """A piece of work: its time goes into a distribution, and a line of JSON into the log, where it ends or fails.

    Attributes:
      kind: what it is, such as "stage"; names the distribution `KIND-milliseconds`.
      fields: what the line says beside that; may be added to.
    """

    def __init__(self, kind: str, **fields: Any) -> None:
        self.kind, self.fields = kind, fields
        self._began, self._elsewhere = 0.0, 0.0

    def __enter__(self) -> "Task":
        self._began = time.monotonic()
        return self

    def passing_on(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yields items; what others do with each does not count as time of this work."""
        for item in items:
            began = time.monotonic()
            yield item
            self._elsewhere += time.monotonic() - began

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is GeneratorExit:  # nobody asked for the rest
            return
        seconds = time.monotonic() - self._began - self._elsewhere
        if error is None:
            Metrics.distribution(NAMESPACE, f"{self.kind}-milliseconds").update(int(1000 * seconds))
        failed = {"failed": f"{type(error).__name__}: {error}"} if error is not None else {}
        # As information, whatever it says: the runner itself tells of errors.
        _LOG.info("%s %s", self.kind, plain(redact(json.dumps({**self.fields, "seconds": round(seconds, 3), **failed}, default=str))))
