"""Shows decoded examples of a dataset, of a registered task or of its cache in the terminal."""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.commands.run_arguments import whole_number
from tokenreel.errors import ConfigError, TokenreelError
from tokenreel.format import features, labels, mixture_manifest, naming, pointer, schema
from tokenreel.format import manifest as manifests
from tokenreel.format.features import FeatureManifest, FeatureStore
from tokenreel.format.mixture_manifest import MixtureManifest
from tokenreel.inspection.examples import format_example, read_example
from tokenreel.inspection.opening import open_vocabulary, read_origins
from tokenreel.inspection.terminal import painter, reader_may_leave, wants_color
from tokenreel.storage import files
from tokenreel.tasks import caching, getting, mixture_caches, task_modules
from tokenreel.tasks.mixture import MixtureRegistry
from tokenreel.tasks.task import TaskRegistry
from tokenreel.wording import one_line, plain

_SHOWN = 32  # numbers of a feature of a cached task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "directory",
        help="dataset, a pointer to one, the cache of a task, or features, local or gs://; with --module_import also a task or mixture",
    )
    parser.add_argument("--split", help="train, if there is one, unless given")
    parser.add_argument("--index", type=int, default=0, help="first example to show; -1 is the last")
    parser.add_argument("--count", type=whole_number(1), default=3, help="how many to show (3)")
    parser.add_argument("--tokens", action="store_true", help="show each token with its id")
    parser.add_argument("--provenance", action="store_true", help="name the document of each segment")
    parser.add_argument(
        "--module_import", action="append", default=[], metavar="MODULE", help="module that registers tasks; may be repeated"
    )
    parser.add_argument(
        "--sequence_length",
        action="append",
        default=[],
        metavar="FEATURE=N",
        help="longest that a feature of a task may be; may be repeated; nothing is trimmed by default",
    )
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto", help="auto: on a terminal, unless NO_COLOR is set")


def run(arguments: argparse.Namespace) -> int:
    """Prints examples.

    Returns:
      0, or 1 if a record shown is damaged.

    Raises:
      TokenreelError: there is no such split or example, or it cannot be read.
    """
    if arguments.module_import:
        task_modules.import_modules(arguments.module_import)
        if _is_registered(arguments.directory):
            return _show_task(arguments)
    arguments.directory = pointer.follow(arguments.directory)
    if caching.is_cache(arguments.directory):
        return _show_cache(arguments)
    if (order := mixture_manifest.find(arguments.directory)) is not None:
        return _show_order(arguments, order)
    if (store := features.find(arguments.directory)) is not None:
        return _show_features(arguments, store)
    if arguments.module_import and files.size(files.join(arguments.directory, naming.MANIFEST)) is None:
        _provider(arguments.directory)  # says which names there are
    manifest = manifests.read(arguments.directory)
    split = _choose_split(arguments, manifest.splits)
    total = manifest.splits[split].examples
    shown = _choose_examples(arguments, split, total)
    vocabulary = open_vocabulary(arguments.directory, manifest)
    color = wants_color(arguments.color)
    align = int(manifest.config.get("packing", {}).get("align") or 1)
    names = labels.names_of(manifest.config.get("sources", ()))
    damaged = False
    with reader_may_leave():
        for index in shown:
            arrays, problem = read_example(arguments.directory, manifest, split, index)
            origins = read_origins(arguments.directory, manifest, split, index) if arguments.provenance else []
            title = _title(split, index, total, arrays, align)
            wanted = {"align": align, "show_tokens": arguments.tokens, "color": color, "labels": names}
            print(format_example(arrays, vocabulary, title=title, origins=origins, **wanted))
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


def _is_registered(name: str) -> bool:
    return name in TaskRegistry.names() or name in MixtureRegistry.names()


def _provider(name: str) -> Any:
    """Gives a registered task or mixture.

    Raises:
      ConfigError: there is none of this name.
    """
    try:
        return getting.get_mixture_or_task(name)
    except ValueError as error:
        raise ConfigError(f"{error} It is no directory of a dataset or of a cache either.") from error


def _show_task(arguments: argparse.Namespace) -> int:
    """Prints the first examples of a task or mixture, as its steps make them now; ids also as their text.

    Raises:
      ConfigError: there is no such split or example, or a step fails.
    """
    _refuse_what_datasets_have(arguments)
    name, provider = arguments.directory, _provider(arguments.directory)
    split, first = _choose_split(arguments, provider.splits), arguments.index
    lengths = _lengths(arguments.sequence_length)
    if first < 0:
        raise ConfigError(f"--index {first}: the examples of a task are not counted before they are made; number them from 0")
    try:
        cached = any(task.requires_caching for task in getting.get_subtasks(provider))
        stream = provider.get_dataset(lengths or None, split=split, use_cached=cached, shuffle=False, num_epochs=1)
        examples = list(itertools.islice(iter(stream.skip(first)), arguments.count))
        lines = [
            line for index, each in enumerate(examples, first) for line in _lines(f"{split} {index:,}", each, provider.output_features)
        ]
    except TokenreelError:
        raise
    except Exception as error:  # of a user's step, or what SeqIO raises
        hint = "" if lengths else " A step may need --sequence_length FEATURE=N."
        raise ConfigError(f"{name}, split {split}: {type(error).__name__}: {error}.{hint} --debug shows where it was raised.") from error
    if not examples:
        raise ConfigError(f"--index {first}: split {split} of {name} has no such example")
    with reader_may_leave():
        for line in lines:
            print(line)
    return 0


def _lengths(given: list[str]) -> dict[str, int]:
    """Reads FEATURE=N.

    Raises:
      ConfigError: one is written in another way.
    """
    lengths = {}
    for each in given:
        name, _, length = each.partition("=")
        if not name or not length.isdecimal():
            raise ConfigError(f"--sequence_length {each}: write the name of a feature and a length, such as inputs=512")
        lengths[name] = int(length)
    return lengths


def _refuse_what_datasets_have(arguments: argparse.Namespace) -> None:
    for option in ("tokens", "provenance"):
        if getattr(arguments, option):
            raise ConfigError(f"--{option}: only datasets that `tokenreel build` made have them; leave it out for tasks and caches")


def _show_cache(arguments: argparse.Namespace) -> int:
    """Prints examples of a cached task, ours or SeqIO's: texts as they are, of long values the first; ids as texts where its task is known.

    Raises:
      TokenreelError: there is no such split or example, or it cannot be read.
    """
    _refuse_what_datasets_have(arguments)
    split = _choose_split(arguments, caching.splits_of(arguments.directory))
    examples = caching.open_cached(arguments.directory, split)
    total = len(examples)
    shown = _choose_examples(arguments, split, total)
    features = _features_of(arguments.directory, examples)
    with reader_may_leave():
        for index in shown:
            for line in _lines(f"{split} {index:,} of {total:,}", examples[index], features):
                print(line)
    return 0


def _show_features(arguments: argparse.Namespace, manifest: FeatureManifest) -> int:
    """Prints features of examples, as they are read: of long ones the first numbers.

    Raises:
      TokenreelError: there is no such split or example, or it cannot be read.
    """
    _refuse_what_datasets_have(arguments)
    split = _choose_split(arguments, manifest.splits)
    store, total = FeatureStore(arguments.directory), manifest.splits[split].examples
    with reader_may_leave():
        for index in _choose_examples(arguments, split, total):
            example = {name: values[0] for name, values in store.take(split, [index]).items()}
            for line in _lines(f"{split} {index:,} of {total:,}", example, {}):
                print(line)
    return 0


def _show_order(arguments: argparse.Namespace, manifest: MixtureManifest) -> int:
    """Prints examples of the cached order of a mixture, with the task and the place in its cache that each is from.

    Raises:
      TokenreelError: there is no such split or example, or it cannot be read.
    """
    _refuse_what_datasets_have(arguments)
    split = _choose_split(arguments, manifest.splits)
    order = mixture_caches.CachedOrder(arguments.directory, split)
    shown = _choose_examples(arguments, split, len(order))

    @functools.cache
    def opened(name: str) -> tuple[caching.CachedSplit, Mapping[str, Any]]:
        directory = mixture_manifest.task_directory(arguments.directory, manifest.mixture, name)
        examples = caching.open_cached(directory, split)
        return examples, _features_of(directory, examples)

    with reader_may_leave():
        for index, task, number, epoch in zip(shown, *(column.tolist() for column in order.rows(shown)), strict=True):
            name = order.tasks[task]
            examples, features = opened(name)
            title = f"{split} {index:,} of {len(order):,}: {name} {number:,}, pass {epoch + 1:,}"
            for line in _lines(title, examples[number], features):
                print(line)
    return 0


def _features_of(directory: str, cached: caching.CachedSplit) -> Mapping[str, Any]:
    """Gives the output features of a cache's task, by its manifest or by the name of its directory; none where it is not registered."""
    names = [name for name in TaskRegistry.names() if _end_alike(directory, naming.cache_directory(name))]
    name = max(names, key=len, default="") if cached.manifest is None else cached.manifest.task
    return TaskRegistry.get(name).output_features if name in TaskRegistry.names() else {}


def _end_alike(directory: str, name: str) -> bool:
    return f"/{directory.rstrip('/')}".endswith(f"/{name}")


def _lines(title: str, example: Mapping[str, Any], features: Mapping[str, Any]) -> Iterator[str]:
    """Writes an example, a line for each feature, and one for the text of its ids."""
    yield title
    for name, value in sorted(example.items()):
        yield f"  {one_line(name)}: {_show_value(value)}"
        text = _decode(features[name], value) if name in features else None
        if text is not None:
            yield f"  {one_line(name)}, decoded: {plain(text)}"
    yield ""


def _decode(feature: Any, value: Any) -> str | None:
    """Gives the text of a feature's ids; None where it has none."""
    ids = np.asarray(value)
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        return None
    text = feature.vocabulary.decode(ids.tolist())
    return text if isinstance(text, str) else None


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
