"""The settings of `tokenreel extract-features`: which model looks at which dataset, and what is kept of what it says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

from tokenreel.config.build import ShardFiles
from tokenreel.config.parsing import require, to_dict
from tokenreel.wording import brief

MOST_TOP_K = 1024  # of the logits of a token: more are no summary of them
_NAME = re.compile(r"[A-Za-z0-9_.\-/]+")
_IMPORT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A Keras model, and how it is run.

    Attributes:
      path: a preset directory of keras-hub, or a saved `.keras` file; `gs://` ones are copied to each worker first.
      build: `module:function` that returns a model, in place of `path`.
      arguments: of that function, by name.
      version: names the model in the fingerprint where `build` makes it; files tell their own digest.
      backend: of Keras, on the workers.
      threads: of a worker's arithmetic. Another number may change the last bits of features.
    """

    path: str | None = None
    build: str | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    version: str | int | None = None
    backend: Literal["jax", "tensorflow", "torch"] = "jax"
    threads: int = 1

    def __post_init__(self) -> None:
        require((self.path is None) != (self.build is None), "model: give one of path (a preset directory or a .keras file) and build")
        require(
            self.build is None or _IMPORT.fullmatch(self.build) is not None,
            f"model.build must be module:function, got {brief(self.build)}",
        )
        require(
            self.build is None or self.version not in (None, ""),
            "model.version is missing: what model.build makes has no files to tell it by, so name it, and give every change a new name",
        )
        require(self.build is not None or not self.arguments, "model.arguments are those of model.build: leave them out with model.path")
        require(1 <= self.threads <= 1024, f"model.threads must be at least 1 and at most 1024, got {self.threads}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How hidden states become logits.

    Attributes:
      kind: `output` takes the model's own output, whatever head it has; `embedding` reverses a token embedding (tied or not) over the
        hidden states; `layer` calls a layer of the model on them, such as a `Dense` that its backbone does not use; `none` makes no logits,
        for layers alone; `auto` takes the output where it has an axis of the vocabulary, the only reversible embedding otherwise.
      layer: name of the embedding or layer; the only reversible embedding by default.
      hidden: name of the layer, or of the model's output, that holds the hidden states; by default the output (of several, the decoder's).
    """

    kind: Literal["auto", "output", "embedding", "layer", "none"] = "auto"
    layer: str | None = None
    hidden: str | None = None

    def __post_init__(self) -> None:
        require(self.kind != "layer" or self.layer is not None, "head.layer is missing: head.kind layer needs the name of the layer")
        require(
            self.layer is None or self.kind in ("auto", "embedding", "layer"),
            f"head.layer has no meaning with head.kind {self.kind}: leave it out",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """An intermediate output that is kept, as the feature `layer.NAME`.

    Attributes:
      name: of the layer, or of one of the model's outputs.
      pool: `none` keeps every position, `mean` their mean, `first` and `last` one of them; padding is left out of each.
      dtype: that it is stored in. `bfloat16` takes the range of float32 and half of its bytes, and is read as float32.
    """

    name: str
    pool: Literal["none", "mean", "first", "last"] = "none"
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"

    def __post_init__(self) -> None:
        require(_NAME.fullmatch(self.name) is not None, f"layers.name: {brief(self.name)} is no name of a layer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptConfig:
    """What is kept of the logits.

    Attributes:
      logprobs: the log-probability of every predicted token, as `logprobs` (4 bytes a token).
      top_k: so many of the largest logits of every predicted token, as `topk_ids`, `topk_values` and `log_normalizer`; 0 for none.
      top_k_dtype: that `topk_values` are stored in.
      documents: perplexity by document and source, as Parquet tables in `scores/`; by default where the dataset tells its documents.
    """

    logprobs: bool = True
    top_k: int = 0
    top_k_dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    documents: bool | None = None

    def __post_init__(self) -> None:
        require(
            0 <= self.top_k <= MOST_TOP_K,
            f"logits.top_k must be at least 0 and at most {MOST_TOP_K:,}, got {self.top_k:,}: all logits of a token take as much as "
            "thousands of tokens of text, and the largest say nearly all of it",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureJobConfig:
    """A whole extraction.

    Attributes:
      output: the directory to write, local or `gs://`.
      dataset: the dataset that the model looks at, or a pointer to one.
      model: what looks.
      splits: of the dataset; by default all that hold examples.
      inputs: the dataset's field behind each input of the model, such as `{token_ids: tokens}`; what is not named is found by the input's
        own name (docs/features.md).
      targets: what the model predicts: `next_token`, `masked` (at the mask positions), `sequence` (an encoder-decoder's targets); `auto` by
        the fields of the dataset.
      target_fields: names of the fields `[ids, weights]`, for `sequence` in datasets of a feature converter.
      decoder_start_id: what an encoder-decoder's decoder begins with; the dataset's padding by default, as T5 does.
      across_documents: also predict a document's first token from the document before it.
      head: how hidden states become logits.
      logits: what is kept of them.
      layers: intermediate outputs that are kept.
      batch_size: examples that the model sees at a time: a fixed range of their numbers, filled up at the end.
      shards: of examples; by default as many as fill `megabytes`, and at most 1024, since a killed job begins its shards again.
      max_gigabytes: features that would take more are refused before the job starts.
    """

    output: str
    dataset: str
    model: ModelConfig
    splits: tuple[str, ...] = ()
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    targets: Literal["auto", "next_token", "masked", "sequence"] = "auto"
    target_fields: tuple[str, ...] = ()
    decoder_start_id: int | None = None
    across_documents: bool = False
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    logits: KeptConfig = dataclasses.field(default_factory=KeptConfig)
    layers: tuple[LayerConfig, ...] = ()
    batch_size: int = 8
    shards: ShardFiles = dataclasses.field(default_factory=ShardFiles)
    max_gigabytes: float = 100.0

    def __post_init__(self) -> None:
        require(bool(self.output), "output is empty: name the directory to write")
        require(bool(self.dataset), "dataset is empty: name the directory of a dataset")
        require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}")
        require(self.max_gigabytes > 0, f"max_gigabytes must be positive, got {self.max_gigabytes}")
        require(len(self.target_fields) in (0, 2), "target_fields must be two names, of ids and of weights")
        require(not self.target_fields or self.targets in ("auto", "sequence"), "target_fields have no meaning but for targets: sequence")
        names = [layer.name for layer in self.layers]
        require(len(set(names)) == len(names), f"layers.name must differ from layer to layer, got {names}")
        require(self.shards.format == "fixed", "shards.format has no meaning for features, whose records differ in length: leave it out")
        told = self.logits.logprobs or self.logits.top_k or self.logits.documents
        if self.head.kind == "none":
            require(bool(self.layers), "head.kind none makes no logits, and layers name no layer: nothing would be kept")
        else:
            require(
                bool(told) or self.logits.documents is None or bool(self.layers),
                "nothing is kept: set logits.logprobs, logits.top_k or logits.documents, or name layers",
            )

    @property
    def makes_logits(self) -> bool:
        """Whether a head is needed."""
        kept = self.logits
        return self.head.kind != "none" and bool(kept.logprobs or kept.top_k or kept.documents is not False)

    def semantics(self) -> dict[str, Any]:
        """The settings that decide the bytes of the features, as plain JSON values; without paths and without how the job runs."""
        settings: dict[str, Any] = to_dict(self)
        for name in ("output", "dataset", "splits", "max_gigabytes"):
            del settings[name]
        for name in ("path", "version"):  # the model's digest stands beside the settings
            del settings["model"][name]
        settings["shards"] = {"examples": self.shards.examples}  # megabytes decide only the number of examples, which the shards tell
        return settings
