"""Mixtures to the orders in which they draw their tasks' caches.

Tested in tests/pipelines/test_cache_mixtures.py.
"""

import dataclasses

import apache_beam as beam

from tokenreel.caching import mixture_job
from tokenreel.caching.cache_job import CacheJob
from tokenreel.storage.stored_value import StoredValue


@dataclasses.dataclass
class DrawMixtures(beam.PTransform):
    """Draws the order of each mixture of a job once the caches of all tasks are in their places; emits all fingerprints."""

    job: StoredValue[CacheJob]

    def expand(self, written: beam.PCollection[str]) -> beam.PCollection[str]:
        drawn = (
            written.pipeline
            | "Mixtures" >> beam.Create(range(len(self.job.load().mixtures)))
            | "SpreadMixtures" >> beam.Reshuffle()
            | "DrawMixture" >> beam.Map(self._draw, beam.pvalue.AsList(written))  # str
        )
        return (written, drawn) | "Fingerprints" >> beam.Flatten()

    def _draw(self, number: int, written: list[str]) -> str:
        cache = self.job.load().mixtures[number]
        with cache.work.explaining():
            return mixture_job.make(cache)
