"""Use cases: publish, submit, look, cancel, recover, escalate, diagnose. Faces call only these."""
