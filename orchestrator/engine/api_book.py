"""How every API may be used now: the one place that answers that in a worker process.

The gate and the transport ask here and are told when an answer has changed. What they have under
way goes on as it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.engine.apis import ApiConfig, config_of

Told = Callable[[str], None]


class ApiBook:
    """Configurations by API. Used by one event loop."""

    def __init__(self, apis: Mapping[str, ApiConfig] | None = None) -> None:
        self._apis = dict(apis or {})
        self._without_file: dict[str, ApiConfig] = {}
        self._told: list[Told] = []
        self.version = 1
        """Counts the changes."""

    @staticmethod
    def of(apis: Mapping[str, ApiConfig] | ApiBook) -> ApiBook:
        """The book itself, or one that never changes."""
        return apis if isinstance(apis, ApiBook) else ApiBook(apis)

    def now(self, name: str) -> ApiConfig:
        """The configuration of an API; one without a file has the defaults."""
        found = self._apis.get(name) or self._without_file.get(name)
        if found is None:
            found = self._without_file[name] = config_of(self._apis, name)
        return found

    def subscribe(self, told: Told) -> None:
        """Have the name of each API told whose configuration has changed."""
        self._told.append(told)

    def take(self, apis: Mapping[str, ApiConfig]) -> list[str]:
        """Turn to these configurations. Returns the names of the APIs that have changed."""
        before = self._apis
        names = [name for name in {**before, **apis} if before.get(name) != apis.get(name)]
        self._apis = dict(apis)
        for name in names:
            self._without_file.pop(name, None)
        self.version += bool(names)
        for name in names:
            for told in self._told:
                told(name)
        return names
