"""A finished dataset made the one that trainers read: `tokenreel publish DATASET POINTER`."""

import argparse
import datetime

from tokenreel.errors import BuildError
from tokenreel.format import manifest, pointer
from tokenreel.format.pointer import Target
from tokenreel.inspection.verification import quick_differences
from tokenreel.storage import files
from tokenreel.wording import plain, plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("dataset", type=files.expand, help="directory of a finished dataset, local or gs://")
    parser.add_argument("pointer", type=files.expand, help="the file to write, for example gs://bucket/books/latest.json")
    parser.add_argument("--date", help="of the data, such as 2026-11-29 (now); a pointer to a later one stays as it is")
    parser.add_argument("--back", action="store_true", help="move the pointer to an earlier date, too")


def run(arguments: argparse.Namespace) -> int:
    """Moves the pointer.

    Returns:
      0, also where the pointer names a later dataset and stays.

    Raises:
      BuildError: the dataset is not whole, by the names and sizes of its files.
      TokenreelError: a path or the date is wrong, or something cannot be read.
    """
    date = pointer.normal_date(arguments.date or datetime.datetime.now(datetime.UTC).isoformat())
    dataset = pointer.follow(arguments.dataset)
    dataset = files.absolute(dataset)
    fingerprint = manifest.read(dataset).fingerprint
    if found := list(quick_differences(dataset)):
        raise BuildError(f"{dataset}: not published, for it has {plural(len(found), 'difference')} from its manifest: {found[0]}")
    target = Target(dataset, fingerprint, date)
    moved = pointer.move(arguments.pointer, target, back=arguments.back)
    if moved.current == target:
        print(plain(f"{arguments.pointer}: names {dataset} of {date}, fingerprint {fingerprint}"))
    else:
        now = moved.current
        print(plain(f"{arguments.pointer}: stays, for it names {now.dataset} of {now.date}, and {date} is earlier (--back moves it)"))
    return 0
