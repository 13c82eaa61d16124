"""Writes what a dataset consists of as one HTML page.

Tested in tests/tokenreel/inspection/test_report.py.
"""

from __future__ import annotations

import argparse
import os

from tokenreel.errors import ConfigError
from tokenreel.format import naming, pointer
from tokenreel.inspection.report import write
from tokenreel.storage import files
from tokenreel.wording import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", help="dataset, or a pointer to one, local or gs://")
    parser.add_argument("--output", metavar="FILE", help=f"the page to write, in place of {naming.REPORT} in the dataset")


def run(arguments: argparse.Namespace) -> int:
    """Writes the report and prints where it is.

    Raises:
      ConfigError: the output is a directory.
    """
    arguments.directory = pointer.follow(arguments.directory)
    if arguments.output and not files.is_remote(arguments.output) and os.path.isdir(arguments.output):
        page = files.join(arguments.output, naming.REPORT)
        raise ConfigError(f"--output {arguments.output}: a directory, and the report is one page. Name the file to write, such as {page}.")
    print(plain(write(arguments.directory, arguments.output)))
    return 0
