"""What a cached task was made by: its steps, its features and the files of its source, as values that can be compared later.

A step is named by its function, a digest of the function's source text and of that of the functions of the same module that it calls, and
by the arguments bound to it. What has no source text, such as a compiled function, declares a `version`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import json
import os
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.storage import files
from tokenreel.wording import brief

VERSION = "tasks-1"
"""Of tokenreel's own steps: another one makes caches stale that they made."""

_VERSION = "version"  # the attribute that says what a step does, in place of its source text
_DEEPEST = 20  # values inside of values
_PLACES = ("tfds_data_dir",)  # attributes of sources that another machine may have otherwise
_MOST_BYTES_READ = 64 << 20  # of a split's files, whose contents are compared each time a cache is opened


def describe_steps(task: Any) -> list[Any]:
    """Describes the steps of a task before its `CacheDatasetPlaceholder`; see `describe_each`."""
    before = itertools.takewhile(lambda step: type(step).__name__ != "CacheDatasetPlaceholder", task.preprocessors)
    return describe_each(task.name, before)


def describe_each(name: str, steps: Iterable[Any]) -> list[Any]:
    """Describes steps of the task of that name.

    Raises:
      ConfigError: nothing tells what a step, or an argument bound to it, does.
    """
    described = []
    for step in steps:
        try:
            described.append(describe(step))
        except ConfigError as error:
            raise ConfigError(f"task {name!r}, step {len(described)}: {error}") from error
    return described


def describe_features(task: Any) -> dict[str, Any]:
    """Describes the output features of a task, which its steps read: vocabularies and types."""
    return {name: describe(feature) for name, feature in sorted(task.output_features.items())}


def describe_source(source: Any) -> dict[str, Any]:
    """Describes a source but for its files: its class and what it was made with.

    Raises:
      ConfigError: nothing tells what a function of it does.
    """
    hidden = ("_split_to_filepattern", "_num_input_examples", "_splits", "_caching_permitted", "_file_shuffle_buffer_size")
    kind = type(source)
    state = {name: value for name, value in vars(source).items() if name not in hidden}
    name = f"{kind.__module__}.{kind.__qualname__}"
    told = {"class": name} if _is_own(kind) else {"class": name, "source": keys.digest(_source(kind, name))}
    return told | {"state": describe(state)}


def describe_files(told: Sequence[tuple[str, int, int]], base: str) -> dict[str, Any]:
    """Describes the files of a split by (path, bytes, CRC32C) of each, wherever `base` lies, the directory that holds them all."""
    named = [(path.removeprefix(base).lstrip("/"), size, crc) for path, size, crc in told]
    return {"files": len(named), "bytes": sum(size for _, size, _ in named), "digest": keys.digest(json.dumps(named))}


def source_differences(task: Any, identity: Mapping[str, Any], split: str) -> list[str]:
    """Says in what the source of a task differs from that which a cache was made from, as far as a glance tells.

    Files are compared by their number and, on a disk, by their bytes in all; by their contents where these are no more than
    `_MOST_BYTES_READ`. A trainer need not have them: where there is none, nothing is said.
    """
    source = task.source
    found = ["the source"] if "source" in identity and not _is_alike(source, identity["source"]) else []
    before = identity.get("inputs", {}).get(split, {})
    if found or "files" not in before or not hasattr(source, "read_file_fn"):
        return found
    try:
        paths = list(source.list_shards(split))
    except (OSError, ConfigError, KeyError):  # nothing lies where the pattern says, or the split is left out here
        return found
    if not paths:
        return found
    where = f"split {split!r} of the source"
    if len(paths) != before["files"]:
        return [f"{where} ({before['files']:,} files, now {len(paths):,})"]
    if any(map(files.is_remote, paths)):
        return found
    sizes = [files.size(path) for path in paths]
    if None in sizes:
        return found
    total = sum(size for size in sizes if size is not None)
    if total != before["bytes"]:
        return [f"{where} ({before['bytes']:,} bytes, now {total:,})"]
    if total <= _MOST_BYTES_READ:
        sums = [(path, *each) for path in paths if (each := files.checksum(path)) is not None]
        if describe_files(sums, os.path.commonpath([os.path.dirname(path) for path in paths])) != before:
            return [f"{where} (other contents or names of its files)"]
    return found


def _is_alike(source: Any, described: Mapping[str, Any]) -> bool:
    """Compares a source with a description, but for where its data lie and what objects of users' own classes hold, which may change."""
    kind = type(source)
    if not _is_own(kind):
        name = f"{kind.__module__}.{kind.__qualname__}"
        return (described.get("class"), described.get("source")) == (name, keys.digest(_source(kind, name)))
    now = describe_source(source)
    states = [{name: value for name, value in each.get("state", {}).items() if name not in _PLACES} for each in (now, described)]
    return bool(now["class"] == described.get("class") and states[0] == states[1])


def differences(task: Any, identity: Mapping[str, Any]) -> list[str]:
    """Says in what the steps and features of a task differ from those that a cache was made by.

    >>> differences(types.SimpleNamespace(name="a", preprocessors=[], output_features={}), {"steps": [], "features": {}})
    []
    """
    steps, features = describe_steps(task), describe_features(task)
    before, old_features = list(identity.get("steps", [])), identity.get("features", {})
    found = []
    if len(steps) != len(before):
        found.append(f"{len(before)} steps before the placeholder, now {len(steps)}")
    found += [f"step {number} ({_name(new)})" for number, (old, new) in enumerate(zip(before, steps, strict=False)) if old != new]
    names = sorted(features.keys() | old_features.keys())
    return found + [f"feature {name!r}" for name in names if features.get(name) != old_features.get(name)]


def told_apart_by_main(task: Any, identity: Mapping[str, Any]) -> tuple[str, str] | None:
    """Gives the first function that a cache knows by another module's name, one of both being `__main__`: (before, now)."""
    for old, new in zip(identity.get("steps", []), describe_steps(task), strict=False):
        before, now = _name(old), _name(new)
        modules = [name.rpartition(".")[0].partition(".<locals>")[0].split(".")[0] for name in (before, now)]
        if old != new and before != now and "__main__" in modules and before.rpartition(".")[2] == now.rpartition(".")[2]:
            return before, now
    return None


def _name(described: Any) -> str:
    while isinstance(described, Mapping) and "partial" in described:
        described = described["partial"]
    return str(described.get("function") or described.get("class")) if isinstance(described, Mapping) else str(described)


def describe(value: Any, depth: int = 0) -> Any:
    """Describes a step or an argument in JSON's types: equal values have equal descriptions, in every process.

    Raises:
      ConfigError: nothing tells what it is.

    >>> describe([1, "a", {"b": 2.5}])
    [1, 'a', {'b': 2.5}]
    """
    if depth > _DEEPEST:
        raise ConfigError(f"{brief(value)}: lies too deep inside of other values. Declare a `{_VERSION}` on the step.")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return {"bytes": keys.digest(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
        return {"array": [str(array.dtype), list(array.shape), keys.digest(content)]}
    if isinstance(value, (np.dtype, type(np.int32))) and not hasattr(value, _VERSION):
        return {"type": str(value)}
    if isinstance(value, Mapping):
        return {str(name): describe(value[name], depth + 1) for name in sorted(value, key=str)}
    if isinstance(value, (list, tuple, range)):
        return [describe(each, depth + 1) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((describe(each, depth + 1) for each in value), key=repr)
    return _describe_object(value, depth)


def _describe_object(value: Any, depth: int) -> Any:
    if isinstance(value, functools.partial):
        arguments = {"args": list(value.args), "keywords": dict(value.keywords)}
        return {"partial": describe(value.func, depth + 1), **describe(arguments, depth + 1)}
    declared = getattr(value, _VERSION, None)
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if isinstance(declared, (str, int)) and not isinstance(value, types.ModuleType):
        return {"function": name, "version": declared}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    if isinstance(value, types.MethodType):
        return {"function": name, "of": describe(value.__self__, depth + 1)}
    if isinstance(value, types.FunctionType):
        return _describe_function(value, name, depth)
    if isinstance(value, type):
        return {"class": name} if _is_own(value) else {"class": name, "source": keys.digest(_source(value, name))}
    if hasattr(value, "as_numpy_dtype"):  # a type of TensorFlow
        return {"type": str(value)}
    return _describe_instance(value, depth)


def _describe_function(function: Any, name: str, depth: int) -> Any:
    layers, inner = [], function
    while isinstance(inner, types.FunctionType) and inner not in layers:  # a decorator leaves what it wraps here
        layers.append(inner)
        inner = getattr(inner, "__wrapped__", None)
    texts = [text for layer in layers if not _is_own(layer) for text in _sources(layer, name)]
    told = {"function": name, "source": keys.digest(*texts)} if texts else {"function": name}
    bound: dict[str, Any] = {"closure": {}, "defaults": [], "keyword_defaults": {}}
    for layer in layers:
        bound["closure"] |= {key: each for key, each in _closure(layer).items() if not any(each is other for other in layers)}
        bound["defaults"] += layer.__defaults__ or ()
        bound["keyword_defaults"] |= layer.__kwdefaults__ or {}
    return told | {key: describe(each, depth + 1) for key, each in bound.items() if each}


def _is_own(value: Any) -> bool:
    """Says whether something is told by the version of tokenreel's steps, and not by its text."""
    return str(value.__module__).startswith("tokenreel.")


def _closure(function: Any) -> dict[str, Any]:
    """Gives what a function has from the function around it, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            found[name] = None
    return found


def _sources(function: Any, name: str) -> list[str]:
    """Gives the source text of a function, and of the functions and constants of its module that it uses, each once, sorted by name."""
    found: dict[str, str] = {}

    def visit(each: Any, known_as: str) -> None:
        if known_as in found:
            return
        found[known_as] = _source(each.__code__, known_as)
        for used in _names_of(each.__code__):
            other = each.__globals__.get(used)
            other = inspect.unwrap(other) if isinstance(other, types.FunctionType) else other
            if isinstance(other, types.FunctionType) and other.__module__ == each.__module__:
                visit(other, f"{other.__module__}.{other.__qualname__}")
            elif isinstance(other, (bool, int, float, str, bytes, tuple)) and used.isupper():
                found[f"{each.__module__}.{used}"] = repr(other)

    visit(function, name)
    return [text for key in sorted(found) for text in (key, found[key])]


def _names_of(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_of(constant)


def _source(value: Any, name: str) -> str:
    """Gives the source text of a function or class.

    Raises:
      ConfigError: there is none.
    """
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"{name} has no source text, which would tell whether it was changed. Give it an attribute `{_VERSION}`, a text or number that "
            "you change with it."
        ) from error


def _describe_instance(value: Any, depth: int) -> Any:
    """Describes an object by its class and by what was handed to it: its fields, its state as pickle takes it, or its attributes."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ == "builtins" or (isinstance(value, Callable) and not hasattr(value, "__dict__")):  # type: ignore[arg-type]
        raise ConfigError(f"{brief(value)} has no source text. Give the step an attribute `{_VERSION}` that you change with it.")
    fingerprint = getattr(value, "fingerprint", None)  # of vocabularies: of all that decides their ids
    if isinstance(fingerprint, str):
        return {"class": name, "fingerprint": fingerprint}
    if dataclasses.is_dataclass(value):
        state = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif "__getstate__" in {name for base in kind.__mro__[:-1] for name in vars(base)}:
        state = value.__getstate__()
    else:
        state = vars(value)
    if _is_own(kind):
        return {"class": name, "state": describe(state, depth + 1)}
    return {"class": name, "source": keys.digest(_source(kind, name)), "state": describe(state, depth + 1)}
