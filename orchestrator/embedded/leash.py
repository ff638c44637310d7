"""Become another program that dies with its parent: ``leash.py SIGNAL PARENT_PID PROGRAM ARG…``.

Run by path in an isolated interpreter, so it imports nothing of the package and costs about 10 ms.
A parent that is killed with SIGKILL cannot end its children; on Linux the kernel does it
(PR_SET_PDEATHSIG, which survives exec). Elsewhere the program simply starts.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(signal_number: int, parent_pid: int, command: list[str]) -> None:
    """Replace this process by `command`; returns only by raising OSError."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent_pid:  # the parent died before the call above
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 -- becoming that program is the whole point


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
