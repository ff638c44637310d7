"""Key pairs as files, for the commands that make them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import InvalidInput, Problem


def write_key_pair(file: Path) -> tuple[Path, bytes]:
    """A new private key into `file`, its public one as PEM into the file beside; that, and it.

    Raises InvalidInput for a name that is taken.
    """
    from orchestrator.engine.signing import new_key_pair

    private, public = new_key_pair()
    beside = file.with_name(file.name + ".pub")
    for path, pem, mode in ((file, private, 0o600), (beside, public, 0o644)):
        try:
            path.touch(mode=mode, exist_ok=False)
        except FileExistsError:
            problem = Problem(place=str(path), found="a file", wanted="a name that is free")
            raise InvalidInput("no key was made", problems=[problem]) from None
        path.write_bytes(pem)
    return beside, public
