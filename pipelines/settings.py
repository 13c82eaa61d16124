"""The settings that a command was given: a config file, and what the command line overrides."""

import argparse
from typing import TypeVar

from tokenreel import config, files
from tokenreel.errors import ConfigError

_T = TypeVar("_T")


def load(kind: type[_T], arguments: argparse.Namespace) -> _T:
    """Reads the settings of a job: `arguments.config`, `set`, `input` and `output`.

    Raises:
      ConfigError: the file cannot be read, or a setting is wrong.
    """
    try:
        text = files.read_bytes(arguments.config).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{arguments.config}: cannot read the config ({error})") from error
    return config.load_as(kind, text, arguments.set, name=arguments.config, input=arguments.input, output=arguments.output)
