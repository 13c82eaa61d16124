"""The end of a job that nobody waits for.

Tested in tests/pipelines/test_fencing.py.
"""

import dataclasses

import apache_beam as beam

from tokenreel.assembly import output
from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.errors import LostOutputError


@dataclasses.dataclass
class CleanUp(beam.PTransform):
    """Removes what only a running build needs, and gives the output back: what the command does otherwise.

    Takes and emits the fingerprint of the dataset.
    """

    config: JobConfig
    work: Workspace

    def expand(self, written: beam.PCollection[str]) -> beam.PCollection[str]:
        # Behind a shuffle, so that the step before is never asked for again: it reads what is removed here.
        return written | "AfterManifest" >> beam.Reshuffle() | "RemoveStage" >> beam.Map(self._remove)

    def _remove(self, fingerprint: str) -> str:
        claim = self.work.claim
        if claim is not None:
            try:
                claim.check()
            except LostOutputError:  # given back by another attempt at this step; what lies there now is another's
                return fingerprint
            output.remove_stage(self.config)
            claim.release()
        return fingerprint
