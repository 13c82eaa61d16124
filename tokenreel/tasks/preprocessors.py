"""SeqIO's steps, in NumPy: over an `ExampleStream`, or over a `tf.data.Dataset` where they are handed one.

`output_features` and `sequence_length` are handed in by the task. A text is `bytes`; several texts in one example become rows of ids of
their own lengths.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks import innermost
from tokenreel.tasks.map_over_dataset import many_at_once, map_examples
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor

Lengths = Mapping[str, int | None]
Features = Mapping[str, Any]
Example = dict[str, Any]


@map_examples(of_tensors=True)
def rekey(x: Example, key_map: Mapping[str, str | None] | None = None) -> Example:
    """Renames features.

    Args:
      x: an example.
      key_map: from new names to old ones; what has none, or an empty one, becomes the empty text. None leaves the example as it is.
    """
    if not key_map:
        return x
    return {new: x[old] if old else ("" if any(map(innermost.is_tensor, x.values())) else b"") for new, old in key_map.items()}


def _tokenize_many(xs: list[Example], output_features: Features, copy_pretokenized: bool = True, with_eos: bool = False) -> list[Example]:
    """Gives what `tokenize_impl` gives for each of some examples, whose texts are encoded together, feature by feature."""
    encoded = {name: iter(_encode_each([x[name] for x in xs if name in x], name, output_features, with_eos)) for name in output_features}
    return [_replace(x, encoded, copy_pretokenized) for x in xs]


def _replace(x: Mapping[str, Any], encoded: Mapping[str, Iterator[Any]], copy_pretokenized: bool) -> Example:
    """Puts the next of the encoded values in the place of each text."""
    made: Example = {}
    for name, value in x.items():
        if name in encoded:
            if copy_pretokenized:
                made[f"{name}_pretokenized"] = value
            value = next(encoded[name])
        made[name] = value
    return made


def _encode_each(values: Sequence[Any], name: str, output_features: Features, with_eos: bool) -> Sequence[Any]:
    """Encodes the values of a feature, each by itself, and puts EOS behind them where that is wanted."""
    vocabulary = output_features[name].vocabulary
    if len(values) == 1 or any(map(innermost.is_tensor, values)) or not hasattr(vocabulary, "encode_values"):
        encoded = [_encode(vocabulary, value) for value in values]
    else:
        encoded = vocabulary.encode_values(values)
    if with_eos and output_features[name].add_eos:
        return [innermost.append_to_last(value, _eos(name, output_features)) for value in encoded]
    return encoded


def _encode(vocabulary: Any, value: Any) -> Any:
    """Encodes by a vocabulary of this project, or by one that has no more than SeqIO's methods."""
    if innermost.is_tensor(value):
        return vocabulary.encode_tf(value)
    encode_value = getattr(vocabulary, "encode_value", None)
    return encode_value(value) if encode_value is not None else vocabulary.encode_tf(value).numpy()


@map_examples(of_tensors=True)
@many_at_once(_tokenize_many)
def tokenize(x: Example, output_features: Features, copy_pretokenized: bool = True, with_eos: bool = False) -> Example:
    """Turns the texts of output features into ids; see `tokenize_impl`."""
    return tokenize_impl(x, output_features, copy_pretokenized, with_eos)


def tokenize_impl(
    features: Mapping[str, Any], output_features: Features, copy_pretokenized: bool = True, with_eos: bool = False
) -> Example:
    """Turns the texts of an example's output features into ids, by their vocabularies; other features stay.

    Args:
      features: the example, of arrays or of tensors.
      output_features: which to tokenize, and with what.
      copy_pretokenized: whether the text itself stays as `<name>_pretokenized`.
      with_eos: whether EOS is put behind features with `add_eos`. Of several texts in a row the last one gets it.
    """
    (made,) = _tokenize_many([dict(features)], output_features, copy_pretokenized, with_eos)
    return made


@map_examples(of_tensors=True)
@many_at_once(functools.partial(_tokenize_many, with_eos=True))
def tokenize_and_append_eos(x: Example, output_features: Features, copy_pretokenized: bool = True) -> Example:
    """Turns the texts of output features into ids and ends them with EOS where they have `add_eos`."""
    return tokenize_impl(x, output_features, copy_pretokenized, with_eos=True)


@map_examples(of_tensors=True)
def print_dataset(features: Example, summarize: int = 3) -> Example:
    """Prints the first values of every feature of every example to standard error."""
    if any(map(innermost.is_tensor, features.values())):
        import tensorflow as tf

        for name, value in features.items():
            tf.print(f"{name}: ", value, summarize=summarize)
        return features
    for name, value in features.items():
        first = np.asarray(value).ravel()[:summarize].tolist() if isinstance(value, np.ndarray) else value
        print(f"{name}: {first}", file=sys.stderr)
    return features


def _eos(name: str, output_features: Features) -> int:
    eos = output_features[name].vocabulary.eos_id
    if eos is None:
        raise ConfigError(
            f"feature {name!r} has add_eos, and its vocabulary {type(output_features[name].vocabulary).__name__} has no EOS: "
            "give Feature(..., add_eos=False), or a vocabulary with an eos_id"
        )
    return int(eos)


@map_examples(of_tensors=True)
def append_eos(x: Example, output_features: Features) -> Example:
    """Puts EOS behind output features with `add_eos`; of several rows, behind each.

    What is longer than its `sequence_length` is cut later, and loses its EOS: see `append_eos_after_trim`.
    """
    return append_eos_after_trim_impl(x, output_features)


@map_examples(of_tensors=True)
def append_eos_after_trim(x: Example, output_features: Features, sequence_length: Lengths | None = None) -> Example:
    """Cuts output features with `add_eos` to one less than their length, and puts EOS behind them; see `append_eos_after_trim_impl`."""
    return append_eos_after_trim_impl(x, output_features, sequence_length)


def append_eos_after_trim_impl(features: Example, output_features: Features, sequence_length: Lengths | None = None) -> Example:
    """Ends an example's output features with EOS where they have `add_eos`, so that they fit their lengths.

    Args:
      features: the example, of arrays or of tensors; it is changed.
      output_features: which features, and with which vocabulary's EOS.
      sequence_length: the length of each with its EOS; a feature without one is not cut.
    """
    for name, value in features.items():
        if name in output_features and output_features[name].add_eos:
            length = (sequence_length or {}).get(name)
            value = value if length is None else innermost.trim(value, length - 1)
            features[name] = innermost.append(value, _eos(name, output_features))
    return features


@map_examples(of_tensors=True)
def truncate_inputs_left(example: Example, sequence_length: Lengths | None) -> Example:
    """Keeps the last tokens of `inputs`, as many as its length, where a task by itself would keep the first."""
    length = (sequence_length or {}).get("inputs")
    if length is not None:
        example["inputs"] = example["inputs"][-length:] if length else example["inputs"][:0]
    return example


@numpy_preprocessor
def apply_feature_converter(dataset: Any, sequence_length: Lengths, feature_converter: Any) -> Any:
    """Makes a step of a feature converter, so that examples may be packed before other steps."""
    return feature_converter(dataset, sequence_length)


@map_examples
def preprocess_tensorflow_examples(example: Example, inputs_format: str, targets_format: str) -> Example:
    """Makes `inputs` and `targets` of templates such as "translate: {text}", in which names of features stand for their values."""
    return {"inputs": _fill(inputs_format, example), "targets": _fill(targets_format, example)}


def _fill(template: str, values: Mapping[str, Any]) -> bytes:
    names = "|".join(re.escape(f"{{{name}}}") for name in values)
    parts = re.split(f"({names})", template) if names else [template]
    return b"".join(_text(values[part[1:-1]]) if part[1:-1] in values and part[:1] == "{" else part.encode() for part in parts)


def _text(value: Any) -> bytes:
    """Writes a value into a text: texts as they are, numbers as Python writes them."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    return value if isinstance(value, bytes) else str(value).encode()


@map_examples
def parse_tsv(
    line: bytes, field_names: Sequence[str] | None = None, field_delim: str = "\t", field_columns: Sequence[int] | None = None
) -> Example:
    """Splits a line into texts (T5's step).

    Args:
      line: the line.
      field_names: of the features; `inputs` and `targets` by default.
      field_delim: one character; quotation marks mean nothing.
      field_columns: which column each feature is, from 0; by default the first ones, in order.

    Returns:
      an example of texts.
    """
    names = list(field_names or ("inputs", "targets"))
    columns = list(field_columns or range(len(names)))
    fields = _split(line, field_delim, max(columns) + 1)
    return {name: fields[column] for name, column in zip(names, columns, strict=True)}


@map_examples
def preprocess_tsv(
    line: bytes,
    field_delim: str = "\t",
    num_fields: int = 2,
    inputs_format: str = "{0}",
    targets_format: str = "{1}",
    field_names: Sequence[str] | None = None,
    use_quote_delim: bool = False,
) -> Example:
    """Makes `inputs` and `targets` of the fields of a line, by templates (T5's step).

    Args:
      line: the line.
      field_delim: one character.
      num_fields: fields of a line, where they have no names.
      inputs_format: template of `inputs`, with numbers or names of fields such as "numerator: {2}".
      targets_format: that of `targets`.
      field_names: names of the fields in their order.
      use_quote_delim: whether quotation marks around a field are taken off, and a delimiter between them is text (RFC 4180).
    """
    names = list(map(str, range(num_fields))) if field_names is None else list(field_names)
    fields = _split(line, field_delim, len(names), exactly=True, quoted=use_quote_delim)
    values = dict(zip(names, fields, strict=True))
    return {"inputs": _fill(inputs_format, values), "targets": _fill(targets_format, values)}


def _split(line: bytes, delimiter: str, count: int, *, exactly: bool = False, quoted: bool = False) -> list[bytes]:
    if quoted:
        import csv

        fields = [field.encode() for field in next(csv.reader([line.decode()], delimiter=delimiter), [""])]
    else:
        fields = line.split(delimiter.encode())
    if len(fields) < count or (exactly and len(fields) != count):
        raise ConfigError(
            f"a line has {len(fields)} fields between {delimiter!r}, the step wants {count}{'' if exactly else ' or more'}: {line[:80]!r}. "
            "Give the delimiter with field_delim, and the columns that there are"
        )
    return fields
