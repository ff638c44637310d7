"""Kinto as a WSGI application, configured for the demo. Loaded by the server process alone."""

from __future__ import annotations

import logging
import warnings
from typing import Any

SETTINGS = {
    "kinto.storage_backend": "kinto.core.storage.memory",
    "kinto.cache_backend": "kinto.core.cache.memory",
    "kinto.permission_backend": "kinto.core.permission.memory",
    # The server itself refuses records that break their collection's JSON schema.
    "kinto.experimental_collection_schema_validation": "true",
    # A journal of every change with its author, in one strict order: what the demo is judged by.
    "kinto.includes": "kinto.plugins.history",
    "multiauth.policies": "basicauth",
    "kinto.userid_hmac_secret": "demo",
    "kinto.bucket_create_principals": "system.Authenticated",
    # Its memory backend looks through all permissions of all records on each request, which takes
    # longer with every record (2.5 ms a request at 4,000). Those of the bucket are enough here.
    "kinto.explicit_permissions": "false",
}


def build() -> Any:
    """The application, with its per-request log lines switched off."""
    warnings.simplefilter("ignore")  # its dependencies warn about pkg_resources and plain HTTP
    from kinto import main  # noqa: PLC0415 - after the filter, which its import needs

    app = main({}, **SETTINGS)
    logging.disable(logging.WARNING)
    return app
