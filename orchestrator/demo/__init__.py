"""The demo: a thousand checkouts against a real server, and the proof that nothing was orphaned."""
