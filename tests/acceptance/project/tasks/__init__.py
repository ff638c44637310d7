"""A deployment in miniature: its outside world is a folder of notes."""

from tasks import notes

__all__ = ["notes"]
