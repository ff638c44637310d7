"""Step functions of this deployment. Every module imported here is registered with the workers."""

from tasks import checkout

__all__ = ["checkout"]
