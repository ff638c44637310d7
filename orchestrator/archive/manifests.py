"""Manifests as JSON: the same bytes for the same batch; writing one again changes nothing."""

from __future__ import annotations

import json

from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports.archiving import FORMAT, ArchivedFile, Head, Manifest, json_line


def dump_manifest(manifest: Manifest) -> bytes:
    """As it is stored."""
    told = manifest.told()
    if manifest.signature is not None:
        told |= {"key_id": manifest.key_id, "signature": manifest.signature.hex()}
    return json_line(told)


def load_manifest(content: bytes, *, place: str) -> Manifest:
    """Inverse of `dump_manifest`. Raises InvalidInput, which names the place."""
    try:
        told = json.loads(content)
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']!r}")
        signature = told.get("signature")
        return Manifest(
            batch=told["batch"], tenant=told["tenant"], day=told["day"], schema=told["schema"],
            older_until=told["older_until"],
            heads=[Head(run_id=i, seq=n, head=bytes.fromhex(h)) for i, n, h in told["heads"]],
            files={name: ArchivedFile(**file) for name, file in told["files"].items()},
            key_id=told.get("key_id"),
            signature=None if signature is None else bytes.fromhex(signature),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        problem = Problem(place=place, found=found, wanted=f"a manifest of format {FORMAT}")
        raise InvalidInput("that is no manifest of an archive", problems=[problem]) from None
