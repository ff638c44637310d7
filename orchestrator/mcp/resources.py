"""What a client may read besides calling tools: documents of workflows, stories of runs."""

from __future__ import annotations

from collections.abc import Iterator

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from orchestrator.core.narrative import Sentence
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.mcp.callers import Callers
from orchestrator.mcp.refusals import told
from orchestrator.service.agents import Agents
from orchestrator.service.explaining import Explained

WORKFLOW = "orchestrator://workflows/{name}"
RUN = "orchestrator://runs/{run}"
MOST_CHARACTERS = 100_000
"""Of a document; what follows is cut off, which is said."""
MOST_SENTENCES = 300
"""Of a story: a third of them its first ones, the others its last ones."""


def add_resources(server: MCPServer, agents: Agents, callers: Callers) -> None:
    """Both, for whoever asks: what is not there for an agent's tools is not there here."""

    @server.resource(
        WORKFLOW, name="workflow", mime_type="text/plain",
        description="The document of a published workflow, as it was written.",
    )  # fmt: skip
    async def workflow(name: str, context: Context) -> str:
        try:
            return bounded(await agents.document(name, actor=callers(context).actor))
        except OrchestratorError as error:
            raise _unreadable(error) from error

    @server.resource(
        RUN, name="run", mime_type="text/plain",
        description="What happened to a run and why, each sentence with the record that proves it.",
    )  # fmt: skip
    async def run(run: str, context: Context) -> str:
        try:
            found = await agents.story(run, actor=callers(context).actor)
        except OrchestratorError as error:
            raise _unreadable(error) from error
        return bounded("\n".join(lines_of(found)))


def _unreadable(error: OrchestratorError) -> ResourceError:
    kind = ResourceNotFoundError if isinstance(error, NotFound) else ResourceError
    return kind(told(error))


def bounded(text: str) -> str:
    """The text, or as much of it as may be shown."""
    left = len(text) - MOST_CHARACTERS
    return text if left <= 0 else f"{text[:MOST_CHARACTERS]}\n… {left} more characters"


def lines_of(found: Explained) -> Iterator[str]:
    """A line for each thing that happened, times in UTC, and how it ended."""
    run, sentences = found.run, found.told.sentences
    yield f"{run.workflow} version {run.version}, run {run.id}, by {run.actor}: {run.status}"
    first, last = sentences, sentences[:0]
    if len(sentences) > MOST_SENTENCES:
        first = sentences[: MOST_SENTENCES // 3]
        last = sentences[-(MOST_SENTENCES - len(first)) :]
    yield from map(_line, first)
    if last:
        yield f"… {len(sentences) - MOST_SENTENCES} more"
        yield from map(_line, last)
    yield found.told.outcome


def _line(sentence: Sentence) -> str:
    evidence = "; ".join(f"{name} {value}" for name, value in sentence.evidence.items())
    at = f"{sentence.at:%Y-%m-%d %H:%M:%S}"
    return f"{at} #{sentence.seq} {sentence.text}" + (f" ({evidence})" if evidence else "")
