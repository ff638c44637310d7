"""How often this process looks for garbage: seldom while it loads modules, not at all as it ends.

Loading a command makes half a million objects that live until the end. With Python's own
threshold of 700 they are searched for cycles again and again, and once more when the interpreter
ends: together two fifths of the CPU time of a short command.
"""

from __future__ import annotations

import atexit
import gc

LOADING_THRESHOLDS = (50_000, 20, 100)
"""Objects made before the youngest generation is searched, and the older ones' shares."""


def expect_modules() -> None:
    """Call it before anything heavy is imported. Garbage is still found, only later."""
    gc.set_threshold(*LOADING_THRESHOLDS)
    # What is frozen is not searched: an exit need not know what could be freed.
    atexit.register(gc.freeze)
