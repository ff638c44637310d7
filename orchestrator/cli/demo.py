"""`orchestrator demo`: the main job on a real server, from one command."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.output import EXIT_INTERRUPTED, JsonFlag, print_json, stderr, stdout
from orchestrator.cli.up import up_options
from orchestrator.demo.wish import Wish, WorldName
from orchestrator.embedded.supervise import StopRequested
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.demo.progress import LiveProgress
    from orchestrator.demo.scenario import Result
    from orchestrator.demo.stage import Stage

_WATCH_SECONDS = 0.2


class _Interrupted(Exception):
    """Ctrl-C came while runs were under way."""


def demo(
    *,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Runs to submit.")] = 1000,
    concurrency: Annotated[
        int, typer.Option(min=1, max=100_000, help="Runs in the hands of all workers at once.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Decides every run's inputs and ending.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    max_inline_steps: Annotated[
        int | None, typer.Option(min=0, help="0: each step is a Celery message of its own.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything up afterwards, until Ctrl-C.")
    ] = False,
    world: Annotated[WorldName, typer.Option(help="The outside world.")] = WorldName.KINTO,
    agent: Annotated[
        bool,
        typer.Option("--agent", help="Instead, what a software agent does, told turn by turn."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a thousand checkouts against a real server and prove that nothing was orphaned.

    Starts server, broker, workers and Flower, and ends them all. Exits with 1 if anything does
    not add up. With --agent three wishes go through the real MCP server, without any model.
    """
    from orchestrator.demo.stage import set_up

    if agent:
        from orchestrator.cli.demo_agent import demo_agent

        demo_agent(as_json=as_json)
        return

    wish = Wish(
        runs=runs, concurrency=concurrency, seed=seed, workers=workers,
        max_inline_steps=max_inline_steps, keep=keep, world=world,
    )  # fmt: skip
    stop = StopRequested().install()
    base = load_settings()
    stderr.print("starting server, broker, workers and Flower …", style="dim")
    try:
        with set_up(wish, up_options(base, workers=workers), base) as stage:
            result = _play(wish, stage, stop)
            _show(result, stage, keep=keep, as_json=as_json)
            if keep:
                _stay(stage, stop)
    except _Interrupted:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(0 if result.totals.clean else 1)


def _play(wish: Wish, stage: Stage, stop: Callable[[], bool]) -> Result:
    from orchestrator.demo.progress import LiveProgress

    def keep_alive() -> None:
        if stop():
            raise _Interrupted
        stage.watch()

    url = stage.supervisor.flower_url
    with LiveProgress(stderr, total=wish.runs, flower_url=url) as progress:
        return asyncio.run(_scenario(wish, stage, progress, keep_alive))


async def _scenario(
    wish: Wish, stage: Stage, progress: LiveProgress, keep_alive: Callable[[], None]
) -> Result:
    from orchestrator.demo.scenario import Scenario, Services
    from orchestrator.demo.watching import Watcher
    from orchestrator.wiring_services import open_services

    # Its runs' tenant and the beginning of their orders' ids: other demos may share the database.
    name = f"demo-{secrets.token_hex(3)}"
    async with open_services(stage.settings) as services:
        await services.workflows.publish(stage.material.workflow, by="demo")
        watcher = Watcher(
            services.runs,
            tenant=name,
            expected=wish.runs,
            progress=progress,
            keep_alive=keep_alive,
        )
        scenario = Scenario(
            services=Services(
                submitter=services.submitter, runs=services.runs, escalations=services.escalations
            ),
            world=stage.world,
            orders=stage.world.seed(wish.runs, seed=wish.seed, prefix=name),
            tenant=name,
            watcher=watcher,
        )
        return await scenario.play()


def _show(result: Result, stage: Stage, *, keep: bool, as_json: bool) -> None:
    from orchestrator.demo.report import Surroundings, draw

    around = Surroundings(
        flower_url=stage.supervisor.flower_url,
        percentiles=result.percentiles,
        worker_memory=stage.worker_memory(),
        acts=result.acts,
        samples=result.samples,
        kept=keep,
    )
    (stderr if as_json else stdout).print(draw(result.totals, result.verdict, around))
    if as_json:
        print_json(result.totals.to_json())


def _stay(stage: Stage, stop: Callable[[], bool]) -> None:
    stderr.print("Everything stays up; Ctrl-C ends all of it.", style="dim")
    while not stop():
        stage.watch()
        time.sleep(_WATCH_SECONDS)
