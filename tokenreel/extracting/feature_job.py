"""What an extraction carries to its workers: dataset, model, what is kept, and what the features will be known by.

Tested in tests/pipelines/test_extract_features.py.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import importlib.metadata
import json
import multiprocessing
import pickle
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.config.features import FeatureJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError, ConfigError, TokenreelError
from tokenreel.format import naming
from tokenreel.format.features import FeatureSpec
from tokenreel.format.manifest import FIXED, Manifest
from tokenreel.format.schema import EXAMPLE_ID
from tokenreel.launched import Launched
from tokenreel.loaders import Dataset
from tokenreel.loaders.fields import align_of
from tokenreel.loaders.opening import load
from tokenreel.model_features import keras_models, predictions
from tokenreel.model_features.extractor import Asked, Extractor
from tokenreel.model_features.predictions import Arranged, Predicting
from tokenreel.storage import files
from tokenreel.storage.claims import Claim

VERSION = "features-1"  # of what is asked of a model, and of how it is stored
_MOST_EXAMPLES = 1024  # of a shard, unless they are given
_PACKAGES = {"jax": ("jax", "jaxlib"), "tensorflow": ("tensorflow",), "torch": ("torch",)}
_BESIDE = 64  # bytes of a record and its index, about, beside the features


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureJob:
    """An extraction.

    Attributes:
      config: the settings.
      dataset: directory of the dataset.
      fingerprint: of the dataset.
      splits: (name, examples) of those that the model sees.
      predicting: what is predicted in them.
      asked: what is wanted of the model.
      documents: whether documents are scored.
      model: what identifies the model.
      versions: of the packages that the model runs on.
      build: the pickled function that makes the model; b"" where files hold it.
      specs: the features; empty until the model was looked at.
      claim: to the output.
      launched: stops a worker whose code is not the launcher's.
    """

    config: FeatureJobConfig
    dataset: str
    fingerprint: str
    splits: tuple[tuple[str, int], ...]
    predicting: Predicting
    asked: Asked
    documents: bool
    model: Mapping[str, Any]
    versions: Mapping[str, str]
    build: bytes = b""
    specs: Mapping[str, FeatureSpec] = dataclasses.field(default_factory=dict)
    claim: Claim | None = None
    launched: Launched = dataclasses.field(default_factory=Launched, repr=False)

    @classmethod
    def prepare(cls, config: FeatureJobConfig, manifest: Manifest, build: bytes) -> FeatureJob:
        """Looks at the dataset and at the files of the model.

        Args:
          config: the settings, with the dataset's directory and no pointer to it.
          manifest: of the dataset.
          build: the pickled function of `model.build`.

        Raises:
          ConfigError: they do not go together.
        """
        splits = {name: split.examples for name, split in manifest.splits.items() if split.examples}
        for name in config.splits:
            if name not in splits:
                raise ConfigError(f"splits: {config.dataset} has no split {name!r} with examples; it has {', '.join(splits)}")
        if manifest.record_format != FIXED:
            raise ConfigError(
                f"dataset: {config.dataset} has shards.format {manifest.record_format}, whose examples have no places by number. Build it "
                "with shards.format: fixed"
            )
        stored = tuple(feature.name for feature in manifest.features if feature.name != EXAMPLE_ID)
        predicting = _predicting(config, manifest, stored)
        kept, makes = config.logits, config.makes_logits
        asked = Asked(
            inputs=dict(config.inputs),
            head=config.head.kind,
            head_layer=config.head.layer,
            hidden=config.head.hidden,
            logits=makes,
            logprobs=makes and kept.logprobs,
            top_k=kept.top_k if makes else 0,
            top_k_dtype=kept.top_k_dtype,
            layers=tuple((layer.name, layer.pool, layer.dtype) for layer in config.layers),
            vocab_size=manifest.vocabulary.vocab_size,
        )
        return cls(
            config=config,
            dataset=config.dataset,
            fingerprint=manifest.fingerprint,
            splits=tuple((name, count) for name, count in splits.items() if name in config.splits or not config.splits),
            predicting=predicting,
            asked=asked,
            documents=makes and _scores_documents(config, manifest, predicting),
            model=_identify(config),
            versions=versions(config),
            build=build,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the features, beside dataset and model, in JSON's types."""
        told: dict[str, Any] = {
            "algorithms": {"features": VERSION},
            "settings": self.config.semantics(),
            "splits": dict(self.splits),
            "versions": dict(self.versions),
        }
        return json.loads(json.dumps(told))  # type: ignore[no-any-return]

    @property
    def made_by(self) -> str:
        """Digest of all that decides the features."""
        return keys.digest(self.fingerprint, json.dumps([self.identity, dict(self.model)], sort_keys=True))

    @property
    def work(self) -> Workspace:
        """Where the job writes."""
        return Workspace(self.config.output, files.join(self.config.output, naming.STAGE), self.made_by, self.claim)

    @property
    def example_bytes(self) -> int:
        """Bytes that an example takes, at most."""
        return sum(spec.nbytes for spec in self.specs.values()) + _BESIDE

    @property
    def shard_examples(self) -> int:
        """Examples in every shard but the last: whole batches."""
        size, batch = self.config.shards, self.config.batch_size
        wanted = size.examples or min(size.examples_per_shard(self.example_bytes), _MOST_EXAMPLES)
        return max(1, wanted // batch) * batch

    def look(self) -> FeatureJob:
        """Shows the model an example, in a process of its own, and gives the job with the features that there will be.

        This process imports no framework, and keeps none of the model's memory.

        Raises:
          ConfigError: the model cannot be loaded, or does not fit the dataset or the settings.
          BuildError: it ends the process, for lack of memory perhaps.
        """
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            try:
                specs = pool.submit(_look_at, pickle.dumps(self)).result()
            except concurrent.futures.BrokenExecutor as error:
                raise BuildError(
                    "the process that loaded the model ended without a word, for lack of memory perhaps. Try a smaller model or a larger "
                    "machine"
                ) from error
        return dataclasses.replace(self, specs=specs)

    def open_model(self) -> Extractor:
        """Loads the model in this process.

        Raises:
          ConfigError: it cannot be loaded, or does not fit the dataset.
          BuildError: the packages here are not those of the launcher.
        """
        if (here := versions(self.config)) != self.versions:
            raise BuildError(
                f"this worker has {_told(here)}, and the job was launched with {_told(self.versions)}, whose features may differ. Give "
                "workers the launcher's packages"
            )
        model = self.config.model
        keras_models.prepare(model.backend, model.threads)
        made = keras_models.load(model.path, pickle.loads(self.build) if self.build else None, model.arguments)
        return Extractor(made, self.predicting, self.asked)

    def batch(self, split: str, first: int, examples: int) -> Arranged:
        """Reads a batch, filled up with its last example where the split ends within it."""
        numbers = np.minimum(np.arange(first, first + self.config.batch_size), examples - 1)
        dataset = open_split(self.dataset, split, self.fingerprint)
        fields = self.predicting.fields
        return self.predicting.arrange(dataset.take(numbers, fields, across_documents=self.config.across_documents))


class ModelOnce:
    """A model that a process loads when it is first asked, and then keeps: a job that finds all of its shards finished needs none."""

    def __init__(self, job: FeatureJob) -> None:
        self._job, self._lock, self._model = job, threading.Lock(), None  # type: FeatureJob, threading.Lock, Extractor | None

    def __call__(self) -> Extractor:
        """Gives the model."""
        with self._lock:
            if self._model is None:
                self._model = self._job.open_model()
            return self._model


@functools.lru_cache(maxsize=8)
def open_split(directory: str, split: str, fingerprint: str) -> Dataset:
    """Opens a split of the dataset, once in each process.

    Raises:
      ManifestError: it is not the dataset that the job began with.
    """
    return load(directory, split, fingerprint=fingerprint)


def _look_at(pickled: bytes) -> dict[str, FeatureSpec]:
    """Does what `_look` does, in the process that it starts, and unpickles the job by itself: what refuses it there is then told."""
    return _look(pickle.loads(pickled))


def _look(job: FeatureJob) -> dict[str, FeatureSpec]:
    """Does what `FeatureJob.look` says, in this process."""
    single = dataclasses.replace(job, config=dataclasses.replace(job.config, batch_size=1))
    try:
        split, examples = job.splits[0]
        model = single.open_model()
        return model.specs(dataclasses.replace(single, predicting=model.predicting).batch(split, 0, examples))
    except TokenreelError:
        raise
    except Exception as error:  # of a framework: not each of them can be sent to another process
        what = str(error).strip().splitlines() or ["no message"]
        raise ConfigError(
            f"model: fails on the first example of split {job.splits[0][0]!r} with {type(error).__name__}: {what[0][:600]}. Say what its "
            f"inputs are in inputs; the dataset has {', '.join(job.predicting.fields)}"
        ) from None


def _predicting(config: FeatureJobConfig, manifest: Manifest, stored: tuple[str, ...]) -> Predicting:
    kind = predictions.kind_of(stored, config.targets, config.target_fields) if config.makes_logits else predictions.NOTHING
    return Predicting(
        kind=kind,
        stored=stored,
        pad_id=manifest.pad_id,
        align=align_of(manifest),
        start_id=manifest.pad_id if config.decoder_start_id is None else config.decoder_start_id,
        target_fields=tuple(config.target_fields),
    )


def _scores_documents(config: FeatureJobConfig, manifest: Manifest, predicting: Predicting) -> bool:
    """Says whether documents are scored.

    Raises:
      ConfigError: they are to be, and the dataset does not tell them.
    """
    wanted = config.logits.documents
    reason = ""
    if not predicting.tells_documents:
        reason = f"with targets: {predicting.kind} it is not known of which document a predicted token is"
    elif not any(info.file.startswith("provenance/") for info in manifest.files):
        reason = f"{config.dataset} has no provenance tables (shards.provenance: true writes them)"
    if wanted and reason:
        raise ConfigError(f"logits.documents: {reason}. Leave it out")
    return wanted is not False and not reason


def _identify(config: FeatureJobConfig) -> dict[str, Any]:
    model = config.model
    if model.path is not None:
        return {"files": keras_models.digest(model.path)}
    return {"build": model.build, "arguments": dict(model.arguments), "version": model.version}


def versions(config: FeatureJobConfig) -> dict[str, str]:
    """Gives the versions of the packages that a model runs on.

    Raises:
      ConfigError: one is not installed.
    """
    preset = config.model.path is not None and not config.model.path.endswith(".keras")
    names = ["keras", *_PACKAGES[config.model.backend], *(["keras-hub"] if preset else [])]
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:
            extra = {"keras-hub": "keras-hub"}.get(name, "keras" if name == "keras" else config.model.backend)
            raise ConfigError(f"model: needs {name}, which is not installed: pip install 'tokenreel[{extra}]'") from error
    return found


def _told(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
