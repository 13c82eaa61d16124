"""What all feature converters do: from what a task gives (`inputs`, `targets`) to what a model reads (`decoder_input_tokens`, ...).

    {"targets": [3, 9, 1]}, {"targets": [4, 1]}     with lengths {"targets": 6}, packed by LMFeatureConverter:

    decoder_target_tokens  [3, 9, 1, 4, 1, 0]
    decoder_input_tokens   [0, 3, 9, 0, 4, 0]
    decoder_loss_weights   [1, 1, 1, 1, 1, 0]
    decoder_segment_ids    [1, 1, 1, 2, 2, 0]
    decoder_positions      [0, 1, 2, 0, 1, 0]

A converter is called on a stream of examples or a `tf.data.Dataset`, and gives the same kind back. `convert_rows` does the work, on blocks
of examples, and is what a job calls.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.feature_converters import specs as feature_specs
from tokenreel.tasks.feature_converters import tensorflow_checks
from tokenreel.tasks.feature_converters.blocks import Array, Block
from tokenreel.tasks.feature_converters.built_datasets import ModelFeatures, Pairs
from tokenreel.tasks.feature_converters.built_datasets import Rows as BuiltRows
from tokenreel.tasks.feature_converters.converted_stream import Converted
from tokenreel.tasks.feature_converters.row_making import Packer, RowMaker
from tokenreel.tasks.feature_converters.rows import POSITIONS, REAL, SEGMENT_IDS, Rows, shift_right
from tokenreel.tasks.feature_converters.specs import Lengths, Specs, check_same_names
from tokenreel.tasks.stream_nodes import Indexed

_Shapes = dict[str, tuple[Any, tuple[int | None, ...]]]


class FeatureConverter(RowMaker):
    """The base of all converters; one of your own says what it takes and gives, and overrides one of three methods.

    `_convert_example(features)` turns the features of a row, padded or packed, into those of the model: the shortest way, called with NumPy
    arrays, row by row, or with [rows, length] where the class says `vectorized = True`.
    `convert_rows(block, lengths)` turns a whole block into rows, where padding or packing differ too.
    `_convert_features(dataset, lengths)` is SeqIO's: it takes and gives a `tf.data.Dataset`, and may call `_pack_or_pad` on it.

    Args:
      pack: whether several examples share a row. They do so in order, each row closed by the first example that has no room in it.
      use_custom_packing_ops: SeqIO's, without effect here: features of any rank and dtype are packed.
      apply_length_check: whether an example that is longer than the length given is an error; it is trimmed otherwise.
      bos_id: what a decoder reads where an example begins.
      passthrough_features: features that are padded and given on under their own names; not with `pack`.
      compat: "seqio" for SeqIO's answers where they differ on purpose: a 0 counts as padding wherever it stands, the open row is closed
        after every max(lengths) examples, segments are numbered for each feature by itself, `bos_id` is read where the padding begins.

    Attributes:
      TASK_FEATURES: what each feature of the task is.
      MODEL_FEATURES: what each feature of the model is.
      PACKING_FEATURE_DTYPES: those that packing adds.

    Raises:
      ConfigError: arguments contradict each other.
    """

    FeatureSpec = feature_specs.FeatureSpec
    TASK_FEATURES: ClassVar[Specs]
    MODEL_FEATURES: ClassVar[Specs]
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, Any]]

    BUILT_KINDS: ClassVar[tuple[str, ...]] = ()
    """Which examples of built data sets are taken; see `built_datasets`."""

    vectorized: ClassVar[bool] = True
    """Whether `_convert_example` takes [rows, length] as well; what a subclass overrides is asked row by row unless it says so itself."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_convert_example" in cls.__dict__ and "vectorized" not in cls.__dict__:
            cls.vectorized = False

    def __init__(
        self,
        pack: bool = True,
        use_custom_packing_ops: bool = False,
        apply_length_check: bool = True,
        bos_id: int = 0,
        passthrough_features: Specs | None = None,
        *,
        compat: str | None = None,
    ) -> None:
        super().__init__(pack=pack, apply_length_check=apply_length_check, compat=compat)
        wanted = ("TASK_FEATURES", "MODEL_FEATURES", *(("PACKING_FEATURE_DTYPES",) if pack else ()))
        for name in wanted:
            if getattr(self, name, None) is None:
                raise ConfigError(f"{name} must be defined in the subclass{' if pack=True' if name == wanted[2:] else ''}.")
        if pack and passthrough_features is not None:
            raise ConfigError(
                "Packing is incompatible with pass-through features. Give pack=False, or convert them in a class of your own."
            )
        self._bos_id = bos_id
        given = (passthrough_features or {}).items()  # SeqIO's own specs are taken too
        self._passthrough_features = {name: feature_specs.FeatureSpec(spec.dtype, spec.rank, spec.sequence_dim) for name, spec in given}

    @property
    def bos_id(self) -> int:
        """What a decoder reads where an example begins."""
        return self._bos_id

    @abc.abstractmethod
    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is, by the lengths of the task's."""

    def __call__(self, ds: Any, task_feature_lengths: Lengths | None = None) -> Any:
        """Converts a dataset.

        Args:
          ds: an `ExampleStream`, a `tf.data.Dataset` of single examples, or what `tokenreel.load` gives.
          task_feature_lengths: positions of each of TASK_FEATURES and of the pass-through features; a built dataset has its own.

        Returns:
          the same kind of dataset, of rows: MODEL_FEATURES in their dtypes, of the lengths of `get_model_feature_lengths`. Of a built
          dataset a stream of rows in stored order; `over` gives batches in the order of a run.

        Raises:
          ConfigError: features or lengths are missing or too many. What is wrong in an example is raised when it is read.
        """
        if hasattr(ds, "manifest"):
            return self._convert_built(ds, task_feature_lengths)
        if task_feature_lengths is None:
            raise ConfigError(f"task_feature_lengths: give the length of each of {', '.join(sorted(self.task_specs()))}")
        self.check_lengths(task_feature_lengths)
        as_in_seqio = type(self)._convert_features is not FeatureConverter._convert_features
        if isinstance(ds, ExampleStream):
            if not as_in_seqio:
                return self._convert_features(ds, task_feature_lengths)
            return ExampleStream.from_tf_data(self(ds.to_tf_data(), task_feature_lengths), name=type(self).__name__)
        if not hasattr(ds, "element_spec"):
            raise ConfigError(
                f"{type(self).__name__} converts a tokenreel.tasks.ExampleStream or a tf.data.Dataset, got {type(ds).__name__}; "
                "ExampleStream.from_examples makes a stream of a list of examples"
            )
        check_lengths = self._apply_length_check
        ds = tensorflow_checks.check_input(ds, self.task_specs(), task_feature_lengths, check_lengths=check_lengths)
        ds = self._convert_features(ds, task_feature_lengths)
        if not as_in_seqio:
            return ds
        lengths = self.get_model_feature_lengths(task_feature_lengths)
        return tensorflow_checks.check_output(ds, self.model_specs(), lengths, check_lengths=check_lengths)

    def over(self, dataset: Any, objective: Any = None, lengths: Lengths | None = None) -> ModelFeatures:
        """Gives what makes a built dataset's batches into the model's features: `dataset.batches(32, objective=converter.over(dataset))`.

        Args:
          dataset: from `tokenreel.load`.
          objective: from `dataset.objective(...)`, computed on the fly before; None for what is stored.
          lengths: of `inputs` and `targets`; None for those of the dataset. Rows have the dataset's length.

        Raises:
          ConfigError: this converter does not take such examples, or would pack them: a batch has a row for each example.
        """
        features = ModelFeatures(dataset, self, objective, lengths)
        if features.kind == "pairs" and self.pack:
            raise ConfigError(
                f"{type(self).__name__}: a batch has one row for each pair of {dataset.path}. Give pack=False, or call the converter on "
                "the dataset for a stream of packed rows."
            )
        return features

    def _convert_built(self, dataset: Any, lengths: Lengths | None) -> ExampleStream:
        """Converts the examples of a built dataset, in their order."""
        features = ModelFeatures(dataset, self, lengths=lengths)
        if features.kind == "pairs":
            pairs = Pairs(features)
            stream = ExampleStream(Indexed(pairs, pairs.key, f"pairs of {dataset.fingerprint}"))
            return self.__call__(stream, features.lengths)  # type: ignore[no-any-return]  # a stream gives a stream
        if lengths is not None:
            raise ConfigError(f"the rows of {dataset.path} are laid out for {dataset.manifest.seq_len:,} positions: leave the lengths out")
        return ExampleStream(
            Indexed(BuiltRows(features), source_key(dataset.fingerprint), f"{type(self).__name__} of {dataset.fingerprint}")
        )

    def check_lengths(self, task_feature_lengths: Lengths) -> None:
        """Checks that there is a length for each feature that is taken, and what comes of it for each that is given.

        Raises:
          ConfigError: one is missing or too many.
        """
        check_same_names(self.task_specs(), task_feature_lengths, "TASK_FEATURES", "task_feature_lengths")
        lengths = self.get_model_feature_lengths(task_feature_lengths)
        check_same_names(self.model_specs(), lengths, "model_feature_names", "model_feature_lengths")

    def task_specs(self) -> dict[str, feature_specs.FeatureSpec]:
        """What is taken of a task."""
        return {**self.TASK_FEATURES, **self._passthrough_features}

    def model_specs(self) -> dict[str, feature_specs.FeatureSpec]:
        """What is given to a model, with what packing adds."""
        specs = {**self.MODEL_FEATURES, **self._passthrough_features}
        if self.pack:
            specs |= {name: feature_specs.FeatureSpec(dtype) for name, dtype in self.PACKING_FEATURE_DTYPES.items()}
        return specs

    def convert_rows(self, block: Block, task_feature_lengths: Lengths) -> Rows:
        """Converts a block of examples; the function that streams and jobs share.

        Args:
          block: n examples: each feature's values end to end, and int64 [n + 1] bounds.
          task_feature_lengths: positions of each feature.

        Returns:
          [rows, length] of each feature of the model. Packing begins and ends with the block.

        Raises:
          ConfigError: a feature is missing, of another dtype or rank, or too long.
        """
        self.check_lengths(task_feature_lengths)
        return super().convert_rows(block, task_feature_lengths)

    @property
    def makes_whole_blocks(self) -> bool:
        """Whether a class of one's own overrides `convert_rows`."""
        return type(self).convert_rows is not FeatureConverter.convert_rows

    def finish(self, rows: Rows) -> Rows:
        """Turns padded or packed rows into the features of the model.

        Raises:
          ConfigError: a subclass gives other features than it declares.
        """
        if self.vectorized:
            converted = dict(self._convert_example(rows))
        else:
            num_rows = len(next(iter(rows.values())))
            each = [self._convert_example({name: array[row] for name, array in rows.items()}) for row in range(num_rows)]
            names = each[0] if each else self.model_specs()
            converted = {name: np.array([np.asarray(row[name]) for row in each]) for name in names}
        specs = self.model_specs()
        check_same_names(specs, converted, "model_feature_names", "output_dataset")
        return {
            name: array if spec.dtype == object else np.asarray(array).astype(spec.dtype, copy=False)
            for name, spec in specs.items()
            for array in (converted[name],)
        }

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        """Turns the features of rows into those of the model."""
        raise NotImplementedError(f"{type(self).__name__} overrides none of _convert_example, convert_rows and _convert_features")

    def _convert_features(self, ds: Any, task_feature_lengths: Lengths) -> Any:
        """Converts a dataset; SeqIO's way to write a converter of one's own."""
        shapes = self._shapes(task_feature_lengths)
        if isinstance(ds, ExampleStream):
            return ExampleStream(Converted(ds.node, self, task_feature_lengths), spec=shapes)
        for name in self._passthrough_features:  # further axes are known there
            shapes[name] = shapes[name][0], _merge(shapes[name][1], ds.element_spec[name].shape)
        return _of_tensorflow(ds, self, task_feature_lengths, shapes)

    def _pack_or_pad(self, ds: Any, packed_lengths: Lengths) -> Any:
        """Trims and packs or pads the features of a `tf.data.Dataset`, for a `_convert_features` of one's own.

        Raises:
          ConfigError: there is no such feature.
        """
        if not self.pack:
            return tensorflow_checks.trim_and_pad(ds, packed_lengths)
        for name in packed_lengths:
            if name not in ds.element_spec:
                raise ConfigError(f"Feature '{name}' not found in dataset. Available keys are {sorted(ds.element_spec)}")
        specs = {name: feature_specs.FeatureSpec(ds.element_spec[name].dtype, len(ds.element_spec[name].shape)) for name in packed_lengths}
        packer = Packer(specs, compat=self.compat)
        return _of_tensorflow(ds, packer, packed_lengths, packer.shapes(packed_lengths))

    def _shapes(self, task_feature_lengths: Lengths) -> _Shapes:
        """Gives the dtype and shape of each feature of the model, for TensorFlow."""
        sizes = self.get_model_feature_lengths(task_feature_lengths)
        shapes: _Shapes = {}
        for name, spec in self.model_specs().items():
            size = sizes[name]
            axes = () if not spec.rank else (size,) if isinstance(size, int) else tuple(size)
            shapes[name] = spec.dtype, (*axes, *[None] * (spec.rank - len(axes)))
        return shapes

    def _real(self, features: Mapping[str, Array], name: str) -> Array:
        """Says where rows hold something: int32, 1 where a feature has a value."""
        real = features.get(name + REAL)
        real = (features[name] != 0) if real is None else real
        return np.asarray(real, np.int32)

    def _shift(self, features: Mapping[str, Array], name: str) -> Array:
        """Makes what a decoder reads of the feature that it predicts."""
        targets = np.asarray(features[name])
        axis = targets.ndim - self.TASK_FEATURES[name].rank if name in self.TASK_FEATURES else targets.ndim - 1
        segments = features.get(name + SEGMENT_IDS)
        return shift_right(targets, self.bos_id, segments, axis=axis, bos_in_padding=self.zero_is_padding)

    def _passed_through(self, features: Mapping[str, Array]) -> dict[str, Array]:
        return {name: features[name] for name in self._passthrough_features}

    def _packing_of(self, features: Mapping[str, Array], name: str, prefix: str) -> dict[str, Array]:
        """Renames what packing adds to a feature: `targets_positions` to `decoder_positions`."""
        if not self.pack:
            return {}
        return {prefix + suffix: features[name + suffix] for suffix in (SEGMENT_IDS, POSITIONS)}

    def _with_further(self, lengths: Mapping[str, Any], task_feature_lengths: Lengths, **prefixes: Any) -> dict[str, Any]:
        """Adds the lengths of what passes through, and with `pack` those of what it adds to `encoder`, `decoder`."""
        further = {name: task_feature_lengths[name] for name in self._passthrough_features}
        if self.pack:
            further |= {prefix + suffix: length for prefix, length in prefixes.items() for suffix in (SEGMENT_IDS, POSITIONS)}
        return {**lengths, **further}


def _merge(shape: tuple[int | None, ...], known: Any) -> tuple[int | None, ...]:
    return tuple(other if size is None else size for size, other in zip(shape, known.as_list(), strict=True))


def _of_tensorflow(dataset: Any, maker: RowMaker, lengths: Lengths, shapes: _Shapes) -> Any:
    """Makes a `tf.data.Dataset` of rows of another of examples, by NumPy."""
    stream = ExampleStream(lambda: tensorflow_checks.read(dataset))
    return ExampleStream(Converted(stream.node, maker, lengths), spec=shapes).to_tf_data()
