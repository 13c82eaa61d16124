"""Shows decoded examples of a dataset in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.commands.run_arguments import whole_number
from tokenreel.errors import ConfigError
from tokenreel.format import manifest as manifests
from tokenreel.format import pointer, schema
from tokenreel.inspection.examples import format_example, read_example
from tokenreel.inspection.opening import open_vocabulary, read_origins
from tokenreel.inspection.terminal import painter, reader_may_leave, wants_color
from tokenreel.tasks import caching
from tokenreel.wording import one_line, plain

_SHOWN = 32  # numbers of a feature of a cached task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", help="dataset, or a pointer to one, local or gs://")
    parser.add_argument("--split", help="train, if there is one, unless given")
    parser.add_argument("--index", type=int, default=0, help="first example to show; -1 is the last")
    parser.add_argument("--count", type=whole_number(1), default=3, help="how many to show (3)")
    parser.add_argument("--tokens", action="store_true", help="show each token with its id")
    parser.add_argument("--provenance", action="store_true", help="name the document of each segment")
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto", help="auto: on a terminal, unless NO_COLOR is set")


def run(arguments: argparse.Namespace) -> int:
    """Prints examples.

    Returns:
      0, or 1 if a record shown is damaged.

    Raises:
      TokenreelError: there is no such split or example, or it cannot be read.
    """
    arguments.directory = pointer.follow(arguments.directory)
    if caching.is_cached(arguments.directory):
        return _show_cache(arguments)
    manifest = manifests.read(arguments.directory)
    split = _choose_split(arguments, manifest.splits)
    total = manifest.splits[split].examples
    shown = _choose_examples(arguments, split, total)
    vocabulary = open_vocabulary(arguments.directory, manifest)
    color = wants_color(arguments.color)
    align = int(manifest.config.get("packing", {}).get("align") or 1)
    damaged = False
    with reader_may_leave():
        for index in shown:
            arrays, problem = read_example(arguments.directory, manifest, split, index)
            origins = read_origins(arguments.directory, manifest, split, index) if arguments.provenance else []
            title = _title(split, index, total, arrays, align)
            print(format_example(arrays, vocabulary, title=title, origins=origins, align=align, show_tokens=arguments.tokens, color=color))
            if problem:
                damaged = True
                print(painter(color)("damage", f"this record is damaged: {problem}"))
            print()
    return 1 if damaged else 0


def _choose_split(arguments: argparse.Namespace, splits: Iterable[str]) -> str:
    """Gives the split to show.

    Raises:
      ConfigError: there is no such split.
    """
    known = list(splits)
    split: str = arguments.split or ("train" if "train" in known else next(iter(known), "train"))
    if split not in known:
        raise ConfigError(f"--split {split}: {arguments.directory} has the splits {', '.join(known)}")
    return split


def _choose_examples(arguments: argparse.Namespace, split: str, total: int) -> range:
    """Gives the numbers of the examples to show, of so many in the split.

    Raises:
      ConfigError: there is no such example.
    """
    first = arguments.index + total if arguments.index < 0 else arguments.index
    if not 0 <= first < total:
        raise ConfigError(f"--index {arguments.index}: split {split} has {total:,} examples, numbered from 0")
    return range(first, min(total, first + arguments.count))


def _show_cache(arguments: argparse.Namespace) -> int:
    """Prints examples of a cached task, ours or SeqIO's: texts as they are, of long values the first.

    Raises:
      TokenreelError: there is no such split or example, or it cannot be read.
    """
    split = _choose_split(arguments, caching.splits_of(arguments.directory))
    examples = caching.open_cached(arguments.directory, split)
    total = len(examples)
    shown = _choose_examples(arguments, split, total)
    with reader_may_leave():
        for index in shown:
            print(f"{split} {index:,} of {total:,}")
            for name, value in sorted(examples[index].items()):
                print(f"  {one_line(name)}: {_show_value(value)}")
            print()
    return 0


def _show_value(value: Any) -> str:
    if isinstance(value, bytes):
        return plain(value.decode("utf-8", "replace"))
    array = np.asarray(value)
    if array.dtype == object:
        return "[" + ", ".join(repr(plain(each.decode("utf-8", "replace"))) for each in array.ravel().tolist()) + "]"
    if not array.ndim:
        return str(array)
    shown = " ".join(map(str, array.ravel()[:_SHOWN].tolist()))
    return f"{array.dtype} {list(array.shape)}: {shown}{' ...' if array.size > _SHOWN else ''}"


def _title(split: str, index: int, total: int, arrays: Mapping[str, npt.NDArray[Any]], align: int) -> str:
    title = f"{split} {index:,} of {total:,}"
    if schema.TOKENS in arrays:
        width = len(arrays[schema.TOKENS])
        title += f": {int(arrays.get(schema.NUM_TOKENS, np.array(width))):,} of {width:,} tokens"
    if schema.DOCUMENT_STARTS in arrays:
        count = int(np.count_nonzero(arrays[schema.DOCUMENT_STARTS][::align]))
        title += f", {count:,} document{'s' if count != 1 else ''} begin{'s' if count == 1 else ''}"
    return title
