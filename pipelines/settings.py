"""The settings that a command was given: a config file, and what the command line overrides."""

import argparse
from typing import TypeVar

from tokenreel.config import reading

_T = TypeVar("_T")


def load(kind: type[_T], arguments: argparse.Namespace) -> _T:
    """Reads the settings of a job: `arguments.config`, `set`, `input` and `output`.

    Raises:
      ConfigError: the file cannot be read, or a setting is wrong.
    """
    return reading.read(kind, arguments.config, arguments.set, input=arguments.input, output=arguments.output)
