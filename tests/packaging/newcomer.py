"""`make newcomer`: what README and tutorial say, typed to the letter in an empty Debian.

    python -m tests.packaging.newcomer [--suite bookworm] [--keep]

A root file system is made from the mirrors that apt is configured with here; in it an account that
is nobody's copies this commit, installs what README names, and types README's first command and the
tutorial. Commands, files and outputs are read from the pages. Once set up, the tutorial has a
network of its own without a way out, since it says that it needs none. Needs root, mmdebstrap and
iproute2; Debian's mirrors and a package index have to be in reach.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.docs.snippets import ROOT, Snippet, snippets

NAME = "ada"
HOME = f"/home/{NAME}"
CHECKOUT = f"{HOME}/orchestrator"
PROGRAMS = ("mmdebstrap", "unshare", "ip", "setpriv", "git")
READY = "Ctrl-C ends all of it"
SECOND = "second terminal"
PRINTED = "printed"
SECONDS = 3600
COLUMNS = 160
"""Of the terminal: what is printed is read by lines, and must not be broken."""
INSTALLS = re.compile(r"apt-get install ([a-z0-9 .+-]+)")
OF_THE_MACHINE = re.compile(
    r"PIP_(CERT|INDEX_URL|DEFAULT_TIMEOUT|PROXY)|SSL_CERT_FILE|https?_proxy"
)
"""Variables without which this machine may not reach a package index."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Lacking(Exception):
    """What a newcomer would have needed and was not told; or was told, and it is not so."""


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A root file system, and what is done in it."""

    root: Path
    took: dict[str, float] = field(default_factory=dict)  # seconds, by what was done

    def make(self, suite: str) -> None:
        """As small as Debian's are."""
        sources = [str(each) for each in Path("/etc/apt/sources.list.d").glob("*.sources")]
        one = Path("/etc/apt/sources.list")
        from_here = [str(one), *sources] if one.is_file() else sources
        self._run(
            "a bare Debian",
            ["mmdebstrap", "--quiet", "--variant=minbase", suite, str(self.root), *from_here[:1]],
        )
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        self._trust_as_here()

    def install(self, packages: str) -> None:
        """What README says is needed."""
        quiet = "DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends"
        script = f"apt-get update -qq && {quiet} {packages} && useradd --create-home {NAME}"
        self._run(f"apt-get install {packages}", self._inside(["sh", "-ec", script], as_root=True))
        self._trust_as_here()  # a package may have brought, and written, its own

    def _trust_as_here(self) -> None:
        place = self.root / CERTIFICATES.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if CERTIFICATES.is_file():
            shutil.copy(CERTIFICATES, place)

    def copy(self) -> None:
        """This commit, as a clone has it."""
        folder = self.root / CHECKOUT.lstrip("/")
        folder.mkdir(parents=True)
        tree = subprocess.run(
            ["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "--extract", "--directory", folder], input=tree, check=True)
        self._run("a copy", self._inside(["chown", "-R", f"{NAME}:", HOME], as_root=True))

    def type(self, what: str, script: str, *, is_alone: bool = False) -> str:
        """What a shell of the account prints. `is_alone`: without a network. Raises Lacking."""
        return self._run(what, self._inside(["bash", "-c", script], is_alone=is_alone))

    def printed(self, name: str) -> str:
        """What stands in a file of the account."""
        return (self.root / HOME.lstrip("/") / name).read_text()

    def _inside(
        self, argv: Sequence[str], *, as_root: bool = False, is_alone: bool = False
    ) -> list[str]:
        """The command within the root, with processes of its own that end with it."""
        account = ("setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--clear-groups")
        known = [f"{name}={value}" for name, value in os.environ.items()
                 if OF_THE_MACHINE.fullmatch(name)]  # fmt: skip
        clean = ("env", "-i", f"HOME={HOME}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                 f"COLUMNS={COLUMNS}", *known)  # fmt: skip
        command = [*(() if as_root else account), *clean, *argv]
        mounts = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; '
        alone = "ip link set lo up; " if is_alone else ""
        return [
            "unshare", "--mount", "--pid", "--fork", "--kill-child",
            *(("--net",) if is_alone else ()), "bash", "-ec",
            f'{mounts}{alone}exec chroot "$0" "$@"', str(self.root), *command,
        ]  # fmt: skip

    def _run(self, what: str, argv: Sequence[str]) -> str:
        began = time.monotonic()
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=SECONDS, check=False, cwd="/",
        )  # fmt: skip
        self.took[what] = time.monotonic() - began
        if done.returncode:
            raise Lacking(f"{what}: ended with {done.returncode}\n{done.stdout[-4000:]}")
        sys.stderr.write(f"{what}: {self.took[what]:.0f} s\n")
        return done.stdout


def needed(page: str) -> str:
    """The packages that a page says are needed. Raises Lacking."""
    found = INSTALLS.search((ROOT / page).read_text())
    if found is None:
        raise Lacking(f"{page} does not say what has to be installed")
    return found[1].strip()


def first_command() -> str:
    """The first one of README."""
    (first, *_) = (each for each in snippets() if each.page == "README.md" and each.kind == "bash")
    return first.text.splitlines()[0]


def typed(parts: Sequence[Snippet]) -> str:
    """The tutorial as one session of a shell; what the n-th block prints is in `printed-<n>`."""
    blocks = (line for number, each in enumerate(parts) for line in _block(number, each))
    return "\n".join(["set -e", f"cd {CHECKOUT}", *blocks])


def _block(number: int, each: Snippet) -> Iterator[str]:
    log = f"{HOME}/{PRINTED}-{number}"
    if each.title == SECOND:
        yield f"( {each.text.rstrip()} ) > {log} 2>&1 &"
        ready = f"grep -q {shlex.quote(READY)} {log}"
        yield f"for n in $(seq 600); do {ready} && break; sleep 0.5; done; {ready}"
    elif each.title:
        yield f"printf %s {shlex.quote(each.text)} > {each.title}"
    elif each.kind == "bash":
        yield f"{{ {each.text.rstrip()}\n}} > {log} 2>&1 || {{ cat {log}; exit 1; }}"


def unsaid(parts: Sequence[Snippet], bare: Bare) -> list[str]:
    """Lines that the page says are printed and that were not, each with where it says so."""
    missing, last = [], ""
    for number, each in enumerate(parts):
        if each.kind == "bash":
            last = bare.printed(f"{PRINTED}-{number}")
        elif each.kind == "text":
            missing += [f"{each}: {line}" for line in each.text.splitlines() if line not in last]
    return missing


def follow(bare: Bare, suite: str) -> None:
    """The whole way. Raises Lacking."""
    parts = [each for each in snippets() if each.page == "docs/tutorial.md"]
    if needed("README.md") != needed("docs/tutorial.md"):
        raise Lacking("README and tutorial do not name the same packages")
    bare.make(suite)
    bare.install(needed("README.md"))
    bare.copy()
    bare.type(first_command().split("#")[0].strip(), f"cd {CHECKOUT}\n{first_command()}")
    bare.type("the tutorial, without a network", typed(parts), is_alone=True)
    if missing := unsaid(parts, bare):
        raise Lacking("the tutorial says what is not printed:\n" + "\n".join(missing))


def impossible() -> str:
    """Why it cannot be played here; empty: it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0:
        return "a root file system needs root"
    return f"not installed: {', '.join(missing)}" if missing else ""


def main() -> None:
    """Exits with 1 when a newcomer would have been stuck, with 2 where it cannot be played."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--suite", default="bookworm", help="of Debian")
    parser.add_argument("--keep", action="store_true", help="leave the root where it is")
    options = parser.parse_args()
    if why := impossible():
        parser.exit(2, f"not here: {why}\n")
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-newcomer-"))
    folder.chmod(0o755)
    try:
        follow(Bare(root=folder / "root"), options.suite)
    except Lacking as error:
        sys.exit(str(error))
    finally:
        if options.keep:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
