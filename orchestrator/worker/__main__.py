"""One worker process: `python -m orchestrator.worker -n NAME` and the options of `celery worker`.

It is what `celery -A orchestrator worker` starts. Celery's own command loads all commands before
it, and with them Flower, its web server and a shell: an eighth of the CPU time of a start.
"""

from __future__ import annotations

import sys

from celery.bin.base import CLIContext
from celery.bin.worker import worker

import orchestrator
from orchestrator.errors import OrchestratorError


def main() -> None:
    """Read the options from the command line, and work until a signal ends it."""
    try:
        app = orchestrator.app
    except OrchestratorError as error:
        sys.exit(str(error))
    worker.main(prog_name="orchestrator.worker", obj=CLIContext(app, no_color=True, workdir=None))


if __name__ == "__main__":
    main()
