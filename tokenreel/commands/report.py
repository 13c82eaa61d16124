"""Writes what a dataset consists of as one HTML page.

Tested in tests/tokenreel/inspection/test_report.py.
"""

from __future__ import annotations

import argparse

from tokenreel.format import naming
from tokenreel.inspection.report import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", help="dataset, local or gs://")
    parser.add_argument("--output", metavar="FILE", help=f"the page to write, in place of {naming.REPORT} in the dataset")


def run(arguments: argparse.Namespace) -> int:
    """Writes the report and prints where it is."""
    print(write(arguments.directory, arguments.output))
    return 0
