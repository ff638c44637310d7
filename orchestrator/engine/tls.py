"""The TLS settings of an API's connections, made anew when their files are replaced."""

from __future__ import annotations

import ssl
import time

import structlog

from orchestrator.engine.auth import Tls
from orchestrator.errors import InvalidSetting, NoCredential

log = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS = 30.0


class TlsContext:
    """Our certificate and the authorities we trust, as their files say at the moment.

    Connections that are open keep what they were made with.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._made_from: tuple[int, ...] = ()
        self._look_at = 0.0  # time.monotonic()

    def current(self) -> ssl.SSLContext:
        """The settings; looks at the files twice a minute. Raises NoCredential without any."""
        now = time.monotonic()
        if self._context is not None and now < self._look_at:
            return self._context
        try:
            self._look()
        except InvalidSetting as error:
            if self._context is None:
                raise NoCredential(error.message, retryable=True) from error
            # Perhaps they are just being replaced: the old ones may do until then.
            log.warning("tls.unreadable", why=str(error))
        assert self._context is not None, "made, or it was there before"
        self._look_at = now + LOOK_AGAIN_SECONDS
        return self._context

    def _look(self) -> None:
        found = self._tls.changed_at()
        if self._context is None or found != self._made_from:
            self._context, self._made_from = self._tls.context(), found
