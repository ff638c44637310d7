"""Database, broker, locks, limits and health in memory: they pass the suites of the real ones."""
