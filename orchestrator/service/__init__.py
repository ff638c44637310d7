"""Use cases: publish, submit, look, cancel, recover, escalate, diagnose. The faces call these only."""
