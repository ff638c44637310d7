"""The asyncio runtime that drives runs. One loop per worker process does everything that waits."""
