"""A folder somewhere: a disk, a bucket. Objects are put in place whole, or are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pyarrow.lib import ArrowException

from orchestrator.errors import InvalidSetting, OrchestratorError, Problem, Unavailable

_CHUNK = 1 << 20


class Abandoned(Exception):
    """Somebody stops writing in the middle: it leads out of a `with`."""


class Place:
    """What stands below a URL that fsspec knows. Blocks; raises Unavailable if it cannot be had."""

    def __init__(self, url: str) -> None:
        """Raises InvalidSetting for a protocol that is not known, or whose package is missing."""
        try:
            files, root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
        except (ImportError, ValueError) as error:
            problem = Problem(
                place="archive URL", found=f"{without_password(url)}: {error}",
                wanted="file:///folder, s3://bucket/folder, or another that fsspec knows, with the"
                " package that brings it (s3fs, gcsfs, adlfs)",
            )  # fmt: skip
            raise InvalidSetting("the archive cannot be reached", problems=[problem]) from None
        self.files = files
        self.address = without_password(url)
        self._root = root.rstrip("/")

    def full(self, path: str) -> str:
        """As the file system calls it."""
        return f"{self._root}/{path}"

    @contextmanager
    def reached(self) -> Iterator[None]:
        """What a driver of fsspec raises becomes Unavailable, whatever its library calls it.

        A file that is not there stays that; what is wrong within one is not the place's fault.
        """
        try:
            yield
        except (FileNotFoundError, ArrowException, Abandoned, OrchestratorError):
            raise
        except Exception as error:
            said = str(error) or type(error).__name__
            raise Unavailable("archive", self.address, said) from error

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A new object, in place of one that may be there; a file is on the disk after this."""
        full = self.full(path)
        local = isinstance(self.files, LocalFileSystem)
        with self.reached():
            if local:
                Path(full).parent.mkdir(parents=True, exist_ok=True)
            target = f"{full}.new" if local else full
            with self.files.open(target, "wb") as stream:
                yield stream
                if local:
                    stream.flush()
                    os.fsync(stream.fileno())
            if local:
                Path(target).replace(full)
                _sync_folder(Path(full).parent)

    def write(self, path: str, content: bytes) -> None:
        """All or nothing."""
        with self.writing(path) as stream:
            stream.write(content)

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        with self.reached():
            content: bytes = self.files.cat_file(self.full(path))
            return content

    def digest(self, path: str) -> tuple[int, str]:
        """How many bytes there are, and their SHA-256. Raises FileNotFoundError."""
        count, told = 0, sha256()
        with self.reached(), self.files.open(self.full(path), "rb") as stream:
            while chunk := stream.read(_CHUNK):
                count += len(chunk)
                told.update(chunk)
        return count, told.hexdigest()

    def remove(self, path: str) -> None:
        """Nothing is said of one that is not there."""
        with self.reached():
            try:
                self.files.rm_file(self.full(path))
            except FileNotFoundError:
                return

    def found(self, pattern: str) -> list[str]:
        """Paths below the URL that fit, in order."""
        with self.reached():
            self.files.invalidate_cache()
            paths: list[Any] = self.files.glob(self.full(pattern))
        return sorted(str(path)[len(self._root) + 1 :] for path in paths)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if not parts.password and not parts.query:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
