"""The run that a command line describes, with or without a saved state: what `tokenreel where` and `tokenreel when` look into."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping

from tokenreel.errors import ConfigError
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.opening import load
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.restoring import from_state
from tokenreel.storage import files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what tells one run from another."""
    parser.add_argument(
        "dataset",
        nargs="+",
        help="directory of the dataset, or a pointer to it, local or gs://; NAME=DIRECTORY for each source of a mixture",
    )
    parser.add_argument("--batch-size", type=whole_number(1), required=True, metavar="N", help="rows of the global batch, over all hosts")
    parser.add_argument(
        "--state", metavar="FILE", help="loader state from a checkpoint, as JSON: tells the mixture, seed, order and skipped ranges"
    )
    parser.add_argument("--split", default="train", help="split of the dataset (default: train)")
    parser.add_argument("--seed", type=int, default=0, help="of the run's order (default: 0)")
    parser.add_argument("--epochs", type=int, help="of the run (default: no end)")
    parser.add_argument("--no-shuffle", action="store_true", help="the run reads the stored order")
    parser.add_argument("--lanes", metavar="LANES,MIX,BLOCK", help="the run shuffles by lanes (BLOCK may be left out)")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="START:END", help="range of samples the run leaves out; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines")


def whole_number(least: int) -> Callable[[str], int]:
    """Makes a type of arguments: whole numbers from `least` on, as large as arrays may have."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= number < 1 << 40:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, got {text}")
        return number

    return read


def open_run(arguments: argparse.Namespace) -> Batches:
    """Opens the run that the arguments tell.

    Raises:
      ConfigError: an argument is malformed, or several datasets come without a state.
      ManifestError: a dataset or the state is not what it should be.
    """
    if arguments.state is not None:
        try:
            state = json.loads(files.read_bytes(arguments.state))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{arguments.state}: cannot be read as JSON ({error})") from error
        if not isinstance(state, Mapping):
            raise ConfigError(f"{arguments.state}: holds no loader state")
        named = (text.partition("=") if "=" in text else ("", "=", text) for text in arguments.dataset)
        return from_state({name: load(path, arguments.split, crc="first") for name, _, path in named}, state, arguments.batch_size)
    if len(arguments.dataset) > 1:
        raise ConfigError("several datasets are a mixture, which only its saved state describes: give --state FILE")
    dataset = load(arguments.dataset[0], arguments.split, crc="first")
    shuffle: bool | Lanes = not arguments.no_shuffle
    try:
        if arguments.lanes:
            lanes, mix, *block = (int(part) for part in arguments.lanes.split(","))
            shuffle = Lanes(lanes=lanes, mix=mix, block=block[0] if block else 0)
        skip = [(int(start), int(end)) for start, end in (text.split(":") for text in arguments.skip)]
    except (ValueError, IndexError) as error:
        raise ConfigError(f"--lanes is LANES,MIX or LANES,MIX,BLOCK and --skip is START:END, in whole numbers ({error})") from error
    return dataset.batches(
        arguments.batch_size, seed=arguments.seed, shuffle=shuffle, epochs=arguments.epochs, skip=skip, drop_remainder=False, prefetch=0
    )
