"""Running a pipeline on this machine.

What comes in are Beam's options and a pipeline; what goes out are a runner with as many workers as suit the machine, lines that say how far
the job is, and errors whose message stands alone. Nothing here knows what a pipeline does, or changes what it writes.
"""

from pipelines.local.elsewhere import absolute as absolute
from pipelines.local.elsewhere import answer_launcher as answer_launcher
from pipelines.local.elsewhere import check as check
from pipelines.local.elsewhere import check_paths as check_paths
from pipelines.local.elsewhere import hand_over as hand_over
from pipelines.local.elsewhere import leaves as leaves
from pipelines.local.elsewhere import run_job as run_job
from pipelines.local.elsewhere import temporary_location as temporary_location
from pipelines.local.errors import plain_errors as plain_errors
from pipelines.local.errors import quiet_logging as quiet_logging
from pipelines.local.progress import note as note
from pipelines.local.progress import show_progress as show_progress
from pipelines.local.runner import LOCAL_RUNNER as LOCAL_RUNNER
from pipelines.local.runner import check_endpoint as check_endpoint
from pipelines.local.runner import describe as describe
from pipelines.local.runner import make_runner as make_runner
from pipelines.local.runner import options as options
from pipelines.local.runner import suit_size as suit_size
from pipelines.local.runner import threads as threads
from pipelines.local.runner import with_threads as with_threads
from pipelines.local.watchdog import EXIT_WORKER_DIED as EXIT_WORKER_DIED
from pipelines.local.watchdog import check_threads as check_threads
from pipelines.local.watchdog import guard as guard
from pipelines.local.watchdog import stop as stop
