"""Talk to the REST face of an orchestrator from Python, waiting or not.

    from orchestrator.client import Client, ask

    with Client("https://orchestrator.example.com", key=KEY) as client:
        run = client(ask.submit("checkout", {"order": "o-1"}, key="o-1"))
        done = client.settled(run.run_id)

`ask` has one function for each operation; what it makes is sent by a `Client` or, with `await`, by
an `AsyncClient`. Answers are the shapes of the REST face, errors those of `orchestrator.errors`.
"""

from orchestrator.client import ask
from orchestrator.client.clients import AsyncClient, Client
from orchestrator.client.making import Tagged
from orchestrator.client.requests import Request

__all__ = ["AsyncClient", "Client", "Request", "Tagged", "ask"]
