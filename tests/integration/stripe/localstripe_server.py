"""Serve localstripe on the loopback address, without its state file in the system's /tmp."""

from __future__ import annotations

import sys

from aiohttp import web
from localstripe.resources import Store
from localstripe.server import app

# It writes all of its state to one fixed path with every change: two tests would share it.
Store.dump_to_disk = lambda self: None
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
