"""Worker processes that outlive the build that started them: they would go on writing, perhaps into the directory of the next one."""

import ctypes
import os
import signal
import threading
import time
from contextlib import suppress

import psutil

# The process that runs the build; its workers inherit the environment.
BUILD = "TOKENREEL_BUILD_PROCESS"
_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1


def end_with_build() -> None:
    """Ends this process soon after the one that `BUILD` names. A build in this process, and workers on other machines, are left alone."""
    build = os.environ.get(BUILD)
    if build is not None and int(build) != os.getpid():
        threading.Thread(target=_watch, args=(int(build),), daemon=True).start()


def end_with_parent() -> None:
    """Has the system kill this process with the thread that started it, where it can: one that holds Python's lock for long cannot look.

    To be called first, by a process that the build itself started, and from a thread that waits for it.
    """
    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.environ.get(BUILD, str(os.getppid())) != str(os.getppid()):  # ended before that
        os._exit(1)


def _watch(build: int) -> None:
    while alive(build):
        time.sleep(_SECONDS)
    os._exit(1)


def alive(pid: int) -> bool:
    """Says whether a process runs; one that ended but whose parent has not looked yet does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's, so it is there
        return True
