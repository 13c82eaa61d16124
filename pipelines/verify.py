"""`tokenreel verify`: in this process as the trainer's command does, or as a Beam job where options name a runner."""

import argparse
from collections.abc import Sequence

from tokenreel.commands import verify
from tokenreel.commands.verify import add_arguments as add_arguments
from tokenreel.errors import ConfigError


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str] = ()) -> int:
    """Lists every difference, the same in the same words wherever the parts of the check run.

    Returns:
      0 for a sound dataset, 1 otherwise.

    Raises:
      TokenreelError: a job cannot be started, or fails.
    """
    if not beam_arguments:
        return verify.run(arguments)
    if arguments.quick:
        raise ConfigError("--quick reads no file and needs no job: leave it or Beam's options out.")
    from pipelines import verification_job  # loads Beam, which a check in this process does without

    return verification_job.run(arguments, beam_arguments)
