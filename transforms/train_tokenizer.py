"""Trains a tokenizer on a sample of documents, and writes it with its report.

Tested in tests/pipelines/test_train_tokenizer.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import apache_beam as beam

from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.storage import files
from tokenreel.tokenizer_training import output
from tokenreel.tokenizer_training.sample_files import Sample
from tokenreel.tokenizer_training.sentencepiece_training import train_sentencepiece
from transforms.sample_documents import Sampled

TRAINING = "training"  # a file beside the sample: what comes now takes long, and leaves no traces until its end


@dataclasses.dataclass
class Trained:
    """A model and what its trainer tells."""

    model: bytes
    notes: Mapping[str, Any]


@dataclasses.dataclass
class TrainSentencePiece(beam.PTransform):
    """Trains SentencePiece once, on one worker, on the sample in the order of its hashes."""

    config: TokenizerJobConfig
    work: Workspace

    def expand(self, sampled: beam.PCollection[Sampled]) -> beam.PCollection[Trained]:
        return sampled | "Train" >> beam.Map(self._train)  # Trained

    def _train(self, sampled: Sampled) -> Trained:
        import sentencepiece

        files.write_bytes(files.join(self.work.sample.ready(), TRAINING), b"")
        with self.work.explaining():
            sample = Sample(sampled.plan, sampled.parts)
        model, counts = train_sentencepiece((chosen.text for chosen in sample), self.config.options)
        return Trained(model, {"trainer": f"sentencepiece {sentencepiece.__version__}", **dataclasses.asdict(counts)})


@dataclasses.dataclass
class WriteTokenizer(beam.PTransform):
    """Writes the model, measures it on documents outside the sample, and writes the report last: the file means "complete".

    Emits the fingerprint of the vocabulary.
    """

    config: TokenizerJobConfig
    work: Workspace
    inputs: Mapping[str, Any]

    def expand(self, parts) -> beam.PCollection[str]:  # Beam takes no hint for several inputs
        sampled, trained = parts  # Sampled, Trained
        return sampled | "WriteTokenizer" >> beam.Map(self._finish, beam.pvalue.AsSingleton(trained))  # str

    def _finish(self, sampled: Sampled, trained: Trained) -> str:
        with self.work.explaining():
            sample = Sample(sampled.plan, sampled.parts)
            report = output.finish(self.config, self.work, self.inputs, trained.model, trained.notes, sample, sampled.totals)
        return str(report["fingerprint"])
