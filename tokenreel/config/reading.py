"""Reads settings from YAML and from `--set name=value`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel.config import paths
from tokenreel.config.build import JobConfig
from tokenreel.config.parsing import SettingsT, dotted, from_dict
from tokenreel.config.task_build import TaskJobConfig, is_task_build
from tokenreel.errors import ConfigError
from tokenreel.storage import files
from tokenreel.wording import brief

_MOST_VALUES = 100_000
_MOST_BYTES = 1 << 20  # the parser takes a minute for a megabyte of brackets


def load(text: str, overrides: Sequence[str] = (), *, name: str = "config", **replacements: Any) -> JobConfig:
    """Reads the YAML config of a build: see `load_as`."""
    return load_as(JobConfig, text, overrides, name=name, **replacements)


def read(kind: type[SettingsT], path: str, overrides: Sequence[str] = (), **replacements: Any) -> SettingsT:
    """Reads a config file, local or `gs://`, in whose folder its relative paths begin: see `load_as`.

    Raises:
      ConfigError: the file cannot be read, or as `load_as`.
    """
    return load_as(kind, _text_of(path), overrides, name=path, folder=paths.folder_of(path), **replacements)


def read_build(path: str, overrides: Sequence[str] = (), **replacements: Any) -> JobConfig | TaskJobConfig:
    """Reads the config file of a build, of text or of a task: see `read`.

    Raises:
      ConfigError: as `read`, or it names a task and what only builds of text have.
    """
    data = _settings(_text_of(path), overrides, path, paths.folder_of(path), replacements)
    return _made(TaskJobConfig, data, path) if is_task_build(data, path) else _made(JobConfig, data, path)


def _text_of(path: str) -> str:
    """Reads a config file.

    Raises:
      ConfigError: it cannot be read, or is larger than any config.
    """
    try:
        data = files.read_bytes(path, 0, _MOST_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the config ({error})") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path}: more than {_MOST_BYTES:,} bytes, which no config has. Name many files by a pattern, or in a list file.")
    return text


def load_as(
    kind: type[SettingsT], text: str, overrides: Sequence[str] = (), *, name: str = "config", folder: str = "", **replacements: Any
) -> SettingsT:
    """Reads a YAML config.

    Args:
      kind: the dataclass of settings to make.
      text: the YAML.
      overrides: "packing.seq_len=1024" and the like, in order; the value is YAML. "sources.0.format" reaches into a list.
      name: name of the file, for errors.
      folder: where relative paths in the text begin; those of overrides and replacements begin in the working directory.
      **replacements: whole top-level settings; None leaves what the text says. `input` replaces the files of the only source.

    Raises:
      ConfigError: the text is no YAML, or a setting is wrong.
    """
    return _made(kind, _settings(text, overrides, name, folder, replacements), name)


def _made(kind: type[SettingsT], data: dict[str, Any], name: str) -> SettingsT:
    """Makes the settings of a kind; errors begin with the name of the config."""
    try:
        return from_dict(kind, paths.expand_all(data))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _settings(text: str, overrides: Sequence[str], name: str, folder: str, replacements: Mapping[str, Any]) -> dict[str, Any]:
    """Gives what a YAML config says, with what replaces it; the arguments are those of `load_as`."""
    data = _yaml(text, name)
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: must be a mapping of settings, got {brief(data)}")
    try:
        data = paths.begin_in(folder, data)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write it as name=value, for example packing.seq_len=1024")
        _assign(data, path.split("."), _yaml(value, f"--set {override}"), override)
    for key, value in replacements.items():
        if value is None:
            continue
        if key == "input":
            sources = data.setdefault("sources", [{}])
            if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
                raise ConfigError(
                    "--input replaces the files of the only source; this config has several, so use --set sources.0.files=[...]"
                )
            sources[0]["files"] = list(value)
        else:
            data[key] = value
    return data


def _yaml(text: str, where: str) -> Any:
    """Parses YAML; None for an empty text.

    Raises:
      ConfigError: the text is no YAML, or gives a key twice.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_bombs(node, where)
            _refuse_repeated_keys(loader, node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the 13th month, numbers of thousands of digits, brackets in brackets
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: not YAML: {error}") from error


def _refuse_bombs(root: Any, where: str) -> None:
    """Refuses YAML whose aliases stand for more values than a config can have: a few lines of them make gigabytes.

    Raises:
      ConfigError: says how many values there would be at least, or which line names itself.
    """
    import yaml

    sizes: dict[int, int] = {}  # by node: values that it stands for, itself and those below
    within: set[int] = set()  # nodes whose parts are being counted
    waiting = [(root, False)]
    while waiting:
        node, counted = waiting.pop()
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        if counted:
            within.discard(id(node))
            sizes[id(node)] = min(_MOST_VALUES + 1, 1 + sum(sizes[id(part)] for part in parts))
        elif id(node) in within:
            raise ConfigError(f"{where}: what begins in line {node.start_mark.line + 1} holds itself, by an alias. Write it out.")
        elif id(node) not in sizes:
            within.add(id(node))
            waiting.append((node, True))
            waiting += [(part, False) for part in parts]
    if sizes[id(root)] > _MOST_VALUES:
        raise ConfigError(f"{where}: it stands for more than {_MOST_VALUES:,} values, counting those of its aliases. Write fewer.")


def _refuse_repeated_keys(loader: Any, root: Any, where: str) -> None:
    """Refuses a mapping, at any depth, that gives a key twice: YAML would silently keep one of the two.

    A key that a merge (`<<: *base`) brings may be given again, because that is what merges are for. If two mappings of one merge bring it,
    it must be given again: which of the two counts differs between releases of PyYAML. Keys are the same if they make the same setting:
    `2` and `"2"` do. A mapping that several aliases share is looked at once.

    Raises:
      ConfigError: names the key and both lines.
    """
    import yaml

    seen: set[int] = set()
    waiting = [(root, "")]
    while waiting:
        node, path = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        items = [(str(index), item) for index, item in enumerate(node.value)] if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for name, line, value in _named(loader, node):
                if name in lines:
                    way = "Write <<: [*first, *second] to merge both." if name == "<<" else "Leave one of them out."
                    raise ConfigError(_repeated(where, dotted(path, name), lines[name], line, way))
                lines[name] = line
                items.append((name, value))
            merged: dict[str, int] = {}
            for name, line in (entry for part in _merged(loader, node) for entry in _keys(loader, part).items()):
                if name in merged and name not in lines:
                    raise ConfigError(
                        _repeated(where, dotted(path, name), merged[name], line, "Give it beside the merge to say which counts.")
                    )
                merged[name] = line
        waiting += [(value, dotted(path, name)) for name, value in reversed(items)]  # the next to be taken is the first in the text


def _repeated(where: str, name: str, first: int, second: int, way: str) -> str:
    """Writes the message for a key that two lines give; `way` says what to do."""
    return f"{where}: {name!r} is given in line {first} and again in line {second}, and one would silently replace the other. {way}"


def _named(loader: Any, node: Any) -> list[tuple[str, int, Any]]:
    """Lists the entries of a YAML mapping whose keys are scalars: name, line and node of the value. The loader refuses other keys."""
    import yaml

    found = []
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            special = key.tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")  # << and =, which make no value
            name = key.value if special else str(loader.construct_object(key))
            found.append((name, key.start_mark.line + 1, value))
    return found


def _merged(loader: Any, node: Any) -> list[Any]:
    """Lists the mappings that a YAML mapping merges."""
    import yaml

    values = [value for name, _, value in _named(loader, node) if name == "<<"]
    parts = [part for value in values for part in (value.value if isinstance(value, yaml.SequenceNode) else [value])]
    return [part for part in parts if isinstance(part, yaml.MappingNode)]


def _keys(loader: Any, node: Any) -> dict[str, int]:
    """Finds the line of each key that a YAML mapping has, by itself or by what it merges."""
    lines = {name: line for part in _merged(loader, node) for name, line in _keys(loader, part).items()}
    return lines | {name: line for name, line, _ in _named(loader, node) if name != "<<"}


def _assign(data: Any, path: list[str], value: Any, override: str) -> None:
    """Sets the value at a path of names and indices of lists, and makes the mappings that are missing on the way.

    Raises:
      ConfigError: the path leads into a value, or beside a list.
    """
    for step, following in itertools.pairwise(path):
        if isinstance(data, list):
            data = _item(data, step, override)
        elif isinstance(data, dict):
            data = data.setdefault(step, [{}] if following == "0" else {})
        else:
            raise ConfigError(f"--set {override}: {step} is no group of settings")
    if isinstance(data, list):
        _item(data, path[-1], override)
        data[int(path[-1])] = value
    elif isinstance(data, dict):
        data[path[-1]] = value
    else:
        raise ConfigError(f"--set {override}: {path[-1]} lies inside a value that holds no settings")


def _item(data: list[Any], step: str, override: str) -> Any:
    """Takes the item of a list that a step of a path names.

    Raises:
      ConfigError: the step is no index of the list.
    """
    if not step.isdigit() or int(step) >= len(data):
        raise ConfigError(f"--set {override}: {step!r} is no index of a list of {len(data)}")
    return data[int(step)]
