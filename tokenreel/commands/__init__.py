"""The command lines of the trainer's wheel. In come arguments, out go lines of text and an exit code; nothing here computes anything."""

from tokenreel.commands.main import COMMANDS as COMMANDS
from tokenreel.commands.main import exit_code as exit_code
from tokenreel.commands.main import main as main
