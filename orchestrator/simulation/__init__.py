"""A run played to its end in a process of its own: nothing is sent, and nothing kept.

`python -m orchestrator.simulation` reads what is to be played from its standard input and writes
what came of it. It is a process because the kit that plays runs (`orchestrator.testing`) sets the
clock of the engine's gate, its logs and its chance, which belong to nobody else there; because it
can be ended, whatever it is at; and because it has neither secrets nor connections.
"""
