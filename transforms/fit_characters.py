"""Fits a vocabulary of characters to text, with a tf.Transform analyzer.

Tested in tests/pipelines/test_train_tokenizer.py.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa

from tokenreel import ragged
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation.filters import Rules
from tokenreel.sources.inputs import Block
from tokenreel.storage import files
from tokenreel.tokenizer_training import character_fitting
from tokenreel.tokenizer_training.sample_files import Sample
from tokenreel.tokenizer_training.texts import read_texts
from tokenreel.vocabularies.characters import write_character_model
from transforms.sample_documents import Sampled
from transforms.train_tokenizer import Trained

_PART_BYTES = 1 << 24  # of text that is counted at once

_FILE = "characters"  # what the analyzer calls its list


@dataclasses.dataclass
class CountSample(beam.PTransform):
    """Counts the characters of the sampled documents, on one worker."""

    config: TokenizerJobConfig
    work: Workspace

    def expand(self, sampled: beam.PCollection[Sampled]) -> beam.PCollection[pa.RecordBatch]:
        return sampled | "CountSample" >> beam.FlatMap(self._count)  # RecordBatch: a row a character

    def _count(self, sampled: Sampled) -> Iterator[pa.RecordBatch]:
        gathered, size = [], 0
        with self.work.explaining():
            sample = Sample(sampled.plan, sampled.parts)
        for chosen in sample:
            gathered.append(chosen.text)
            size += len(chosen.text)
            if size > _PART_BYTES:
                yield from _batches(*_join(gathered), self.config)
                gathered, size = [], 0
        yield from _batches(*_join(gathered), self.config)


@dataclasses.dataclass
class CountBlocks(beam.PTransform):
    """Counts the characters of all documents, on all workers."""

    config: TokenizerJobConfig
    rules: Sequence[Rules]

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[pa.RecordBatch]:
        return blocks | "CountBlock" >> beam.FlatMap(self._count)  # RecordBatch: a row a character

    def _count(self, block: Block) -> Iterator[pa.RecordBatch]:
        for documents in read_texts(block, self.config, self.rules[block.source], self.config.execution.block_bytes):
            yield from _batches(documents.text, documents.offsets, self.config)


def _join(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return np.frombuffer(b"".join(texts), dtype=np.uint8), ragged.offsets_of(lengths)


def _batches(text: np.ndarray, offsets: np.ndarray, config: TokenizerJobConfig) -> Iterable[pa.RecordBatch]:
    normalizer = character_fitting.read_options(config.options).normalizer
    for points, counts in character_fitting.count_characters(text, offsets, normalizer):
        rows = np.arange(len(points) + 1, dtype=np.int32)  # one value in each
        columns = [pa.ListArray.from_arrays(rows, pa.array(values)) for values in (points, counts)]
        yield pa.RecordBatch.from_arrays(columns, names=["character", "count"])


@dataclasses.dataclass
class FitCharacters(beam.PTransform):
    """Adds up counts and keeps the frequent characters, with `tft.vocabulary`; the only step of the project that imports TensorFlow.

    The characters travel as numbers, since the analyzer leaves out tokens that hold line ends. Its `top_k` would decide ties by the digits
    of those numbers, so the list is cut afterwards.
    """

    config: TokenizerJobConfig
    work: Workspace

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Trained]:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf
        import tensorflow_transform as tft
        import tensorflow_transform.beam as tft_beam
        from tensorflow_transform.tf_metadata import schema_utils
        from tfx_bsl.tfxio import tensor_adapter, tensor_representation_util

        options = character_fitting.read_options(self.config.options)
        schema = schema_utils.schema_from_feature_spec(
            {"character": tf.io.FixedLenFeature([], tf.int64), "count": tf.io.FixedLenFeature([], tf.float32)}
        )
        columns = pa.schema([("character", pa.list_(pa.int64())), ("count", pa.list_(pa.float32()))])
        adapter = tensor_adapter.TensorAdapterConfig(columns, tensor_representation_util.InferTensorRepresentationsFromSchema(schema))

        def count(inputs):
            tft.vocabulary(
                inputs["character"],
                weights=inputs["count"],
                frequency_threshold=options.min_count,
                store_frequency=True,
                vocab_filename=_FILE,
            )
            return inputs

        with tft_beam.Context(temp_dir=files.join(self.work.sample.path, "tft")):
            model, _ = (batches, adapter) | "AnalyzeCharacters" >> tft_beam.AnalyzeDataset(count)
        notes = {"trainer": f"tensorflow-transform {tft.__version__}"}
        return model | "ChooseCharacters" >> beam.Map(self._choose, notes)  # Trained

    def _choose(self, directory: str, notes: dict[str, str]) -> Trained:
        options = character_fitting.read_options(self.config.options)
        lines = files.read_bytes(files.join(directory, f"assets/{_FILE}")).splitlines()
        characters, counts = character_fitting.choose_characters(lines, options)
        path = files.join(self.work.sample.ready(), self.config.model_file)
        write_character_model(path, characters, options.normalizer, counts, options.specials)
        return Trained(files.read_bytes(path), {**notes, "characters": len(characters), "counted": sum(counts)})
