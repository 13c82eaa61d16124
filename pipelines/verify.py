"""`tokenreel verify`: in this process as the trainer's command does, or as a Beam job where options name a runner."""

import argparse
from collections.abc import Sequence

from tokenreel.commands import verify
from tokenreel.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line; what it does not know goes to Beam."""
    verify.add_arguments(parser)
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="return once a remote runner has the job, which fails over a difference (for templates)",
    )


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> int:
    """Lists every difference, the same in the same words wherever the parts of the check run.

    Returns:
      0 for a sound dataset, or a job that was handed to a remote runner without waiting; 1 otherwise.

    Raises:
      TokenreelError: a job cannot be started, or fails.
    """
    if not beam_arguments:
        return verify.run(arguments)
    if arguments.quick:
        raise ConfigError("--quick reads no file and needs no job: leave it or Beam's options out.")
    from pipelines import verification_job  # loads Beam, which a check in this process does without

    return verification_job.run(arguments, beam_arguments)
