"""The command lines of the trainer's wheel.

Arguments come in, lines of text and an exit code go out. It never computes anything itself: each command calls the room that does.
"""

from tokenreel.commands.main import COMMANDS as COMMANDS
from tokenreel.commands.main import add_debug as add_debug
from tokenreel.commands.main import exit_code as exit_code
from tokenreel.commands.main import main as main
