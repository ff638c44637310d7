"""What a long workflow with large answers costs an agent."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import COMMAND

ROOT = Path(__file__).parents[2]
MOST_TOKENS = 1_500


@pytest.mark.long
def test_twenty_steps_with_large_answers_cost_an_agent_little() -> None:
    command = [COMMAND, "bench", "context", "--steps", "20", "--kilobytes", "60", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert (found["steps"], found["answer_bytes"] > 50_000) == (20, True)
    assert found["tokens_without_tools"] < MOST_TOKENS, found["by_part"]
    assert found["plain_tokens"] > 100 * found["tokens"]
