"""Workflow documents and Python builders become one validated, immutable plan; programs run it."""
