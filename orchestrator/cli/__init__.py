"""The command line: asks services, draws their answers, decides nothing.

Each group of commands is a module; `main.py` puts them together. What is drawn is made by pure
functions (`draw_*.py`) from the records of `ports`. Every command takes `--json`.
"""

from orchestrator.garbage import expect_modules

expect_modules()  # here, since the command's own modules are imported next
