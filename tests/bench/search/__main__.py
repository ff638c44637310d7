"""`orchestrator bench search`: whether search finds what is wanted, and how soon.

First the labelled intents over their workflows, with and without the model; then answers by the
catalogue among five thousand workflows, which are copies of those under other names.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle, islice
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from orchestrator.ports.finding import About
from orchestrator.search import HybridFinder
from orchestrator.search.meaning import Embedder, Meant, open_embedder
from tests.bench.search.labelled import Intent, Score, ask, intents, scores, workflows

_AT_ONCE = 10_000


class _Remembering:
    """Copies of a workflow differ in a number alone, which is not worth an hour of the model."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.unrelated, self.digest = embedder.unrelated, embedder.digest
        self._known: dict[str, Meant] = {}

    def embed(self, texts: Sequence[str]) -> list[Meant]:
        plain = [" ".join(w for w in text.split() if not w.startswith("copy")) for text in texts]
        for text in plain:
            if text not in self._known:
                self._known[text] = self._embedder.embed([text])[0]
        return [self._known[text] for text in plain]


def learned(abouts: Sequence[About], embedder: Embedder | None) -> HybridFinder:
    """A finder that knows these."""
    finder = HybridFinder(embedder)
    finder.learn(abouts)
    while finder.deepen(_AT_ONCE).left:
        pass
    return finder


def latencies(
    abouts: Sequence[About], wanted: Sequence[Intent], embedder: Embedder | None, count: int
) -> tuple[list[float], list[float]]:
    """Seconds of each question among so many workflows, asked as the catalogue asks: by the clock,
    and of the processor.
    """
    copies = [
        about if place < len(abouts) else replaced(about, place // len(abouts))
        for place, about in enumerate(islice(cycle(abouts), count))
    ]
    finder = learned(copies, None if embedder is None else _Remembering(embedder))
    if embedder is not None:
        finder.embedder = embedder  # questions are not remembered

    def one(want: str) -> float:
        begun = time.thread_time()
        finder.find(want, limit=5, allowed=lambda _: True)
        return time.thread_time() - begun

    async def go(before: str = "") -> tuple[list[float], list[float]]:
        by_clock, by_processor = [], []
        for each in wanted:
            begun = time.perf_counter()
            by_processor.append(await asyncio.to_thread(one, f"{before}{each.want}"))
            by_clock.append(time.perf_counter() - begun)
        return by_clock, by_processor

    asyncio.run(go("please: "))  # warm; what was asked before is answered sooner
    return asyncio.run(go())


def replaced(about: About, number: int) -> About:
    """A copy under another name."""
    return msgspec.structs.replace(about, name=f"{about.name} copy{chr(ord('a') + number)}")


def main(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    latency_workflows: Annotated[int, typer.Option(help="Among so many answers are timed.")] = 5000,
) -> None:
    """Print the figures; exit code 1 below what is promised."""
    abouts, wanted, embedder = workflows(), intents(), open_embedder()
    by_words = scores(ask(learned(abouts, None), wanted))
    figures = by_words if embedder is None else scores(ask(learned(abouts, embedder), wanted))
    by_clock, by_processor = latencies(abouts, wanted[::4], embedder, latency_workflows)
    p95, p95_cpu = (
        statistics.quantiles(each, n=20)[-1] * 1000 for each in (by_clock, by_processor)
    )
    value = _value(figures, by_words, with_model=embedder is not None) | {
        "workflows": len(abouts), "latency_workflows": latency_workflows,
        "p50_ms": round(statistics.median(by_clock) * 1000, 2), "p95_ms": round(p95, 2),
        "p95_cpu_ms": round(p95_cpu, 2),
    }  # fmt: skip
    if as_json:
        print(json.dumps(value, indent=2))
    else:
        _draw(figures, by_words, value)
    is_kept = figures["all"].recall_at_5 >= 0.92 and figures["all"].mrr >= 0.83 and p95 < 20
    sys.exit(0 if is_kept or embedder is None else 1)


def _value(
    figures: dict[str, Score], by_words: dict[str, Score], *, with_model: bool
) -> dict[str, Any]:
    return {
        "recall_at_5": round(figures["all"].recall_at_5, 4), "mrr": round(figures["all"].mrr, 4),
        "intents": figures["all"].intents, "with_model": with_model,
        "parts": {name: asdict(each) for name, each in figures.items()},
        "by_words_alone": {name: asdict(each) for name, each in by_words.items()},
    }  # fmt: skip


def _draw(figures: dict[str, Score], by_words: dict[str, Score], value: dict[str, Any]) -> None:
    table = Table("intents", "", "recall@5", "MRR", "none", "by words: recall@5", "MRR", "none")
    for name, each in figures.items():
        words = by_words[name]
        table.add_row(
            name.replace("_", " "), str(each.intents), f"{each.recall_at_5:.3f}", f"{each.mrr:.3f}",
            f"{each.refused:.2f}", f"{words.recall_at_5:.3f}", f"{words.mrr:.3f}",
            f"{words.refused:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"{value['workflows']} workflows; among {value['latency_workflows']} an answer takes "
        f"{value['p50_ms']} ms (median), {value['p95_ms']} ms (p95), "
        f"{value['p95_cpu_ms']} ms of the processor (p95)"
    )


if __name__ == "__main__":
    typer.run(main)
