"""Turns plain values into settings and back, and names the setting that is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from tokenreel.errors import ConfigError
from tokenreel.plain_values import to_plain
from tokenreel.wording import brief, did_you_mean

SettingsT = TypeVar("SettingsT")


def require(condition: bool, message: str) -> None:
    """Checks a condition on settings.

    Raises:
      ConfigError: the condition does not hold; says the message.
    """
    if not condition:
        raise ConfigError(message)


def require_share(setting: str, share: float | None) -> None:
    """Checks that a share lies between 0 and 1; None passes.

    Raises:
      ConfigError: it does not; names the setting.
    """
    require(share is None or 0 <= share <= 1, f"{setting} must lie between 0 and 1 (or 0% and 100%), got {share}")


def check_pattern(setting: str, pattern: str | None) -> None:
    """Checks that a pattern is a regular expression; None passes.

    Raises:
      ConfigError: it is none; names the setting.
    """
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"{setting}: {pattern!r} is no regular expression ({error})") from error


def to_dict(config: Any) -> Any:
    """Turns settings into dicts and lists, ready for JSON or YAML, whatever computed them."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_dict(value) for value in config]
    return to_plain(config)


def from_dict(kind: type[SettingsT], data: Any, where: str = "") -> SettingsT:
    """Makes settings of a dataclass from plain values.

    Args:
      kind: the dataclass.
      data: a mapping of settings, by the names of the dataclass's fields.
      where: the dotted name of the settings themselves, "" for the whole config.

    Raises:
      ConfigError: a key is unknown (with the nearest known one), missing, of the wrong type, or its value is impossible.
    """
    data = to_plain(data)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or 'the config'} must be a mapping of settings, got {brief(data)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            hint = did_you_mean(str(key), fields, f"known are {', '.join(fields)}")
            raise ConfigError(f"unknown setting {dotted(where, str(key))!r}: {hint}")
    for name, field in fields.items():
        if name not in data and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"the setting {dotted(where, name)!r} is missing")
    return kind(**{key: _convert(hints[key], value, dotted(where, key)) for key, value in data.items()})


def dotted(where: str, key: str) -> str:
    """Names a setting below another, as in `packing.seq_len`."""
    return f"{where}.{key}" if where else key


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Makes a value of the type that a field of settings is annotated with.

    Args:
      hint: the annotation: a plain type, a dataclass, or a union, `Literal`, tuple or mapping of such.
      value: a plain value, as YAML gives it.
      where: the dotted name of the setting, for errors.

    Raises:
      ConfigError: the value is of another type; names the setting.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:  # 1 is equal to True
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(str, arguments))}, got {brief(value)}")
    if origin is tuple:
        return _convert_tuple(arguments[0], value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a mapping, got {brief(value)}")
        return {str(key): _convert(arguments[1], item, dotted(where, str(key))) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, where)
    if hint is float:
        return _convert_float(value, where)
    if type(value) is hint:
        return value
    raise _wrong_type(hint, value, where)


def _convert_union(kinds: Sequence[Any], value: Any, where: str) -> Any:
    """Makes a value of the type that it has already, if the union holds that; else of the union's first type."""
    if value is None and type(None) in kinds:
        return None
    kinds = [kind for kind in kinds if kind is not type(None)]
    return _convert(next((kind for kind in kinds if type(value) is kind), kinds[0]), value, where)


def _convert_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    """Makes a tuple of a list; a text by itself is a list of one, because `files: a.txt` is how people write it."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence):
        raise ConfigError(f"{where} must be a list, got {brief(value)}")
    return tuple(_convert(kind, item, f"{where}[{i}]") for i, item in enumerate(values))


def _convert_float(value: Any, where: str) -> float:
    """Makes a float of a number, or of a percentage such as `0.5%`."""
    with contextlib.suppress(ValueError, OverflowError):  # 1.2.3 %, and whole numbers beyond the range of floats
        if isinstance(value, str) and re.fullmatch(r"[0-9.]+\s*%", value):
            return float(value.rstrip("% ")) / 100
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    raise _wrong_type(float, value, where)


def _wrong_type(kind: type, value: Any, where: str) -> ConfigError:
    """Says which setting holds what instead of what."""
    expected = {int: "a whole number", float: "a number or a percentage", str: "text", bool: "true or false"}.get(kind, kind.__name__)
    return ConfigError(f"{where} must be {expected}, got {brief(value)}")
