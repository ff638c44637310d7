"""Servers and workers as child processes of one supervisor, for a laptop, tests and the demo.

In production these processes belong to an init system or a container platform; nothing here is
needed there.
"""
