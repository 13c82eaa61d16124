"""The end of a job that nobody waits for.

Tested in tests/pipelines/test_fencing.py and tests/pipelines/templates/test_launching.py.
"""

import dataclasses
from collections.abc import Callable, Sequence

import apache_beam as beam

from tokenreel.errors import LostOutputError
from tokenreel.storage.claims import Claim


@dataclasses.dataclass
class CleanUp(beam.PTransform):
    """Removes what only a running job needs, and gives its outputs back: what the command does otherwise.

    Takes the fingerprints of what was made, and waits for all of them. Each output comes with what removes the rest from it.
    """

    outputs: Sequence[tuple[Claim, Callable[[], None]]]

    def expand(self, written: beam.PCollection[str]) -> beam.PCollection[None]:
        # Behind a shuffle, so that the step before is never asked for again: it reads what is removed here.
        return written | "AfterManifests" >> beam.combiners.Count.Globally() | "RemoveStages" >> beam.Map(self._remove)

    def _remove(self, _: int) -> None:
        for claim, remove in self.outputs:
            try:
                claim.check()
            except LostOutputError:  # given back by another attempt at this step; what lies there now is another's
                continue
            remove()
            claim.release()
