"""`tokenreel inspect`: examples as a person reads them: decoded, with the documents told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError, StorageError, describe_os_error
from tokenreel.format import schema, segments, sidecars, tfrecord
from tokenreel.format.example_codec import decode_example, most_list_bytes
from tokenreel.format.manifest import FIXED, Manifest, ShardInfo
from tokenreel.format.record_damage import find_damage
from tokenreel.inspection.opening import Origin
from tokenreel.inspection.terminal import painter
from tokenreel.storage import files
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.wording import one_line, plain

_SPECIALS = ("pad", "bos", "eos", "unk")
_MASK_FIELDS = ("mask_positions", "mask_ids", "mask_weights")
_TOKEN_FIELDS = ("inputs", "targets")  # what denoising objectives put in place of the tokens
_MODEL_TOKENS = ("_target_tokens", "_input_tokens")  # ends of the names that feature converters give to tokens, padded with 0
_VALUES_SHOWN = 16


def format_example(
    arrays: Mapping[str, npt.NDArray[Any]],
    vocabulary: Vocabulary,
    *,
    title: str = "",
    origins: Sequence[Origin] = (),
    align: int = 1,
    show_tokens: bool = False,
    color: bool = False,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> str:
    r"""Shows one example as text.

    Each segment is decoded by itself under a line that says where it begins. Special ids are shown by name, masked positions as
    `{what is there -> what it stands for}`, padding by its length, and other fields of the record by their values, decoded where they hold
    tokens. Control characters appear as `\x1b`, so that no text can steer the terminal.

    Args:
      arrays: one example: `tokens` and `document_starts` [W], `num_tokens` [], fields of an objective; or `inputs` and `targets`.
      vocabulary: what decodes them.
      title: the first line.
      origins: where each segment came from, in order; left out where they are not as many as the segments.
      align: the multiple of positions that every segment takes, see `tokenreel.format.segments`.
      show_tokens: show each token by itself, with its id, in place of the text.
      color: use ANSI colours.
      labels: what the numbers of labels mean, by feature.
    """
    paint = painter(color)
    lines = [paint("title", title)] if title else []
    known = {schema.DOCUMENT_STARTS, schema.NUM_TOKENS, schema.EXAMPLE_ID}
    if schema.TOKENS in arrays:
        known |= {schema.TOKENS, *_MASK_FIELDS}
        tokens = arrays[schema.TOKENS]
        length = int(arrays.get(schema.NUM_TOKENS, np.array(len(tokens))))
        masks = _masks(arrays)
        render = _show_tokens if show_tokens else _show_text
        for number, (begin, end, label) in enumerate(_segments(arrays, length, align, origins)):
            lines.append(paint("boundary", f"--- {number + 1}: {label}"))
            lines.append(render(tokens[begin:end].tolist(), begin, masks, vocabulary, paint))
        if length < len(tokens):
            lines.append(paint("boundary", f"--- {len(tokens) - length:,} positions of padding"))
    for name in sorted(set(arrays) - known):
        values = arrays[name]
        if labels is not None and name in labels:
            shown, padding = _show_labels(values, labels[name], arrays.get(schema.TOKENS), vocabulary), ""
        elif (name in _TOKEN_FIELDS or name.endswith(_MODEL_TOKENS)) and values.ndim == 1 and values.dtype.kind in "iu":
            real = np.flatnonzero(values) if name.endswith(_MODEL_TOKENS) else np.arange(len(values))
            count = int(arrays.get(f"num_{name}", np.array(real[-1] + 1 if len(real) else 0)))
            shown = (_show_tokens if show_tokens else _show_text)(values[:count].tolist(), 0, {}, vocabulary, paint)
            padding = f" ({len(values) - count:,} positions of padding)" if count < len(values) else ""
        else:
            shown, padding = _show_values(values), ""
        lines.append(f"{paint('name', name)}: {shown}{paint('name', padding) if padding else ''}")
    return "\n".join(lines)


def _segments(arrays: Mapping[str, npt.NDArray[Any]], length: int, align: int, origins: Sequence[Origin]) -> Iterator[tuple[int, int, str]]:
    """Yields (first position, position behind it, description) of each segment."""
    starts = arrays.get(schema.DOCUMENT_STARTS, np.zeros(len(arrays[schema.TOKENS]), dtype=bool)).astype(bool)
    ids = segments.segment_ids(starts[None], [length], align)[0]
    begins = np.flatnonzero(np.diff(ids, prepend=0) * (ids > 0)).tolist()  # where a number begins that is not padding's
    ends = [begin + int(np.count_nonzero(ids == ids[begin])) for begin in begins]
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        label = f"{'a document begins' if starts[begin] else 'continued'}, positions {begin:,} to {end - 1:,}"
        if len(origins) == len(begins):
            origin = origins[number]
            part = f"{origin.document}, its tokens {origin.start:,} to {origin.start + origin.length - 1:,}"
            kept = "".join(f", {name}: {value}" for name, value in origin.metadata.items() if value is not None)
            label = one_line(f"{part} ({origin.source}{kept})")
        yield begin, end, label


def _masks(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[int, int]:
    """Gives the original id at each masked position."""
    if not {"mask_positions", "mask_ids"} <= set(arrays):
        return {}
    weights = arrays.get("mask_weights", np.ones(len(arrays["mask_positions"])))
    rows = zip(arrays["mask_positions"].tolist(), arrays["mask_ids"].tolist(), weights.tolist(), strict=True)
    return {position: original for position, original, weight in rows if weight}


def _show_text(tokens: Sequence[int], begin: int, masks: Mapping[int, int], vocabulary: Vocabulary, paint: Any) -> str:
    specials = _special_names(vocabulary)
    parts: list[str] = []
    pending: list[int] = []

    # Text is decoded in stretches: a character may take several tokens, and pieces put spaces between each other.
    def flush() -> None:
        if pending:
            parts.append(plain(vocabulary.decode(pending)))
            pending.clear()

    for position, token in enumerate(tokens, begin):
        if position in masks:
            flush()
            parts.append(paint("masked", f"{{{piece_name(token, vocabulary)} -> {piece_name(masks[position], vocabulary)}}}"))
        elif name := specials.get(token) or _symbol(token, vocabulary):
            flush()
            parts.append(paint("special", name))
        else:
            pending.append(token)
    flush()
    return "".join(parts)


def _symbol(token: int, vocabulary: Vocabulary) -> str | None:
    """Names a token that stands for no text, such as [CLS], which decoding leaves out, and one that the vocabulary does not have.

    None for others, and for a space at an end.
    """
    if not 0 <= token < vocabulary.vocab_size:
        return f"<no token {token}>"
    piece = vocabulary.piece(token)
    return piece if piece and piece.strip("\u2581 ") and not vocabulary.decode([token]) else None


def _show_tokens(tokens: Sequence[int], begin: int, masks: Mapping[int, int], vocabulary: Vocabulary, paint: Any) -> str:
    specials = _special_names(vocabulary)
    parts = []
    for position, token in enumerate(tokens, begin):
        text = f"{token}:{piece_name(token, vocabulary)}"
        if position in masks:
            text = paint("masked", f"{{{text} -> {masks[position]}:{piece_name(masks[position], vocabulary)}}}")
        parts.append(paint("special", text) if token in specials and position not in masks else text)
    return " ".join(parts)


def _show_labels(values: npt.NDArray[Any], names: Sequence[str], tokens: npt.NDArray[Any] | None, vocabulary: Vocabulary) -> str:
    """Names a class, or each entity with its positions and its text; numbers without a name are shown as they are."""

    def name(number: int) -> str:
        return names[number] if 0 <= number < len(names) else str(number)

    if values.ndim == 0:
        return one_line("unlabelled" if values == -1 else name(int(values)))
    begins = np.flatnonzero((values > 0) & ((values % 2 == 1) | (np.append(0, values[:-1] + values[:-1] % 2) != values)))
    parts = []
    for begin in begins.tolist():
        end = begin + 1
        while end < len(values) and values[end] == values[begin] + values[begin] % 2:
            end += 1
        text = "" if tokens is None else f" {vocabulary.decode(tokens[begin:end].tolist())!r}"
        parts.append(f"{name(int(values[begin]))[2:]} at {begin:,} to {end - 1:,}{text}")
    return one_line("; ".join(parts) or "no entity")


def _show_values(values: npt.NDArray[Any]) -> str:
    flat = np.atleast_1d(values).ravel()
    shown = " ".join(f"{value:g}" if values.dtype.kind == "f" else str(int(value)) for value in flat[:_VALUES_SHOWN])
    return shown + (f" ... ({len(flat):,} values)" if len(flat) > _VALUES_SHOWN else "")


def _special_names(vocabulary: Vocabulary) -> dict[int, str]:
    ids = {name: getattr(vocabulary, f"{name}_id") for name in _SPECIALS}
    names: dict[int, str] = {}
    for name, number in ids.items():
        if number is not None:  # ids that share a number share the name: GPT-2 pads with eos
            names[number] = f"{names[number][:-1]}|{name}>" if number in names else f"<{name}>"
    return names


def piece_name(token: int, vocabulary: Vocabulary) -> str:
    """Writes a single token as its vocabulary does, so that "▁the" and "the" differ.

    Special ids show by name, white space and control characters by their escapes, and tokens without name and text by their number.
    """
    names = _special_names(vocabulary)
    if token in names:
        return names[token]
    if not 0 <= token < vocabulary.vocab_size:
        return "?"
    text = vocabulary.piece(token) or vocabulary.decode([token])
    if not text:
        return f"#{token}"
    return repr(text)[1:-1] if text.isspace() else one_line(text)


def read_example(directory: str, manifest: Manifest, split: str, index: int) -> tuple[dict[str, npt.NDArray[Any]], str]:
    """Reads one example straight from its shard, as it is, whatever the rest of the dataset looks like.

    Returns:
      its arrays, and what is wrong with the record ("" for a sound one).

    Raises:
      ManifestError: the manifest contradicts itself, the shard does not reach so far, or the bytes are no record.
      StorageError: the shard cannot be read.
    """
    if contradiction := manifest.find_contradiction(split):
        raise ManifestError(f"{directory}: {contradiction}")
    shards = manifest.splits[split].shards
    per_shard = shards[0].records
    shard, row = shards[index // per_shard], index % per_shard
    path = files.join(directory, shard.file)
    try:
        arrays, problem = (_read_fixed if manifest.record_format == FIXED else _read_list)(path, manifest, shard, row)
    except FileNotFoundError:
        raise ManifestError(f"{path}: missing. Copy the dataset again from where it was built.") from None
    except OSError as error:
        raise StorageError(describe_os_error(error, path)) from error
    if not problem and schema.EXAMPLE_ID in arrays and (found := int(arrays[schema.EXAMPLE_ID])) != index:
        problem = f"it holds example {found:,}, expected {index:,}: shards were exchanged"
    return arrays, problem


def _read_fixed(path: str, manifest: Manifest, shard: ShardInfo, row: int) -> tuple[dict[str, npt.NDArray[Any]], str]:
    fixed_format = manifest.fixed_format
    data = files.read_bytes(path, row * fixed_format.record_bytes, fixed_format.record_bytes)
    if len(data) < fixed_format.record_bytes:
        raise _too_short(path, shard, row)
    record = np.frombuffer(data, dtype=np.uint8)[None]
    problem = "".join(message for _, message in find_damage(fixed_format, record))
    return {name: values[0] for name, values in fixed_format.decode(record).items()}, problem


def _read_list(path: str, manifest: Manifest, shard: ShardInfo, row: int) -> tuple[dict[str, npt.NDArray[Any]], str]:
    shapes = {feature.name: feature.shape for feature in manifest.features}
    with files.open_read(path) as file:
        for number, (offset, payload, problem) in enumerate(tfrecord.read_frames(file.read, most_list_bytes(manifest.fixed_format))):
            if problem and (number == row or not payload):
                raise ManifestError(f"{path}: record {number:,} at byte {offset:,}: {problem}. {sidecars.COPY_AGAIN}")
            if number == row:
                try:
                    values = decode_example(payload)
                    if values.keys() != shapes.keys():
                        raise ValueError(f"it holds {', '.join(sorted(values))}, the manifest lists {', '.join(sorted(shapes))}")
                    return {name: value.reshape(shapes[name]) for name, value in values.items()}, ""
                except ValueError as error:
                    raise ManifestError(f"{path}: record {number:,} at byte {offset:,}: {error}. {sidecars.COPY_AGAIN}") from error
    raise _too_short(path, shard, row)


def _too_short(path: str, shard: ShardInfo, row: int) -> ManifestError:
    return ManifestError(
        f"{path}: ends before or inside record {row:,}; the manifest says {shard.records:,} records. Copy the file again from where it was "
        "built, or run `tokenreel verify` to list every difference."
    )
