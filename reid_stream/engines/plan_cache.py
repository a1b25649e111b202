"""Cache of compiled plans on disk: one file per key, written atomically, verified when read.

A file is a line of JSON (the key, the plan's size and hash) and the plan. A name is the hash of its key, so another
model, library, GPU or profile is another file: what does not fit is never found, and what was cut off, altered or put
there by another program is reported and built again. The file `.checked` beside it holds the comparison with float32.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs

from reid_stream.engines.accuracy_check import Parity
from reid_stream.engines.tensorrt_library import Precision
from reid_stream.errors import DECODE_ERRORS

VARIABLE = "REID_STREAM_ENGINES"
_POLL_S = 0.2
_MOST_HEAD = 4096


class OptimizationProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input sizes that a plan must accept; a size that the network itself fixes takes precedence."""

    batch: tuple[int, int, int]
    """Least, usual and most images a call."""
    least: tuple[int, int]
    """(height, width) in pixels."""
    usual: tuple[int, int]
    """(height, width) in pixels; what is built for speed."""
    most: tuple[int, int]
    """(height, width) in pixels."""


class PlanKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All properties on which a plan depends."""

    model: str
    """sha256 of model.onnx."""
    library: str
    """`tensorrt_rtx 1.7.1.116`: a plan of another version is not read."""
    arch: str
    """`sm_86`."""
    precision: Precision
    profile: OptimizationProfile
    typing: int = 1
    """Version of `onnx_precision.strongly_typed`; raised when it gives other networks."""

    @property
    def name(self) -> str:
        """Name of the file, without its ending."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:32]


class PlanHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First line of a file."""

    key: PlanKey
    bytes: int
    sha256: str


class PlanCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Result of the comparison of a plan with float32."""

    sha256: str
    """Hash of the plan."""
    parity: Parity


class PlanCache:
    """A folder of plans."""

    def __init__(self, folder: Path | None = None) -> None:
        """Look at `folder`; none for $REID_STREAM_ENGINES, else the user's cache. It need not be there."""
        named = os.environ.get(VARIABLE)
        self.folder = (
            folder or (Path(named) if named else None) or Path(platformdirs.user_cache_dir("reid-stream")) / "tensorrt"
        )

    def path(self, key: PlanKey) -> Path:
        """Return the path of a key's plan, existing or not."""
        return self.folder / f"{key.name}.plan"

    def kernels(self, key: PlanKey) -> Path:
        """Return where `tensorrt_rtx` keeps what it compiled for a plan when that ran."""
        return self.path(key).with_suffix(".kernels")

    def read(self, key: PlanKey) -> tuple[bytes | None, str]:
        """Return a plan, or none and why: empty where there is simply no such file."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None, ""
        except OSError as error:
            return None, f"{path} cannot be read: {error.strerror or error}"
        first, _, plan = content.partition(b"\n")
        try:
            head = msgspec.json.decode(first[:_MOST_HEAD], type=PlanHeader)
        except DECODE_ERRORS:
            return None, f"{path} is no engine of ours"
        if head.key != key:
            return None, f"{path} is of another network, library, GPU or profile"
        if len(plan) != head.bytes:
            return None, f"{path} must have {head.bytes:,} bytes of plan, found {len(plan):,}: it was cut off"
        if hashlib.sha256(plan).hexdigest() != head.sha256:
            return None, f"{path} was altered after it was written"
        return plan, ""

    def write(self, key: PlanKey, plan: bytes) -> Path:
        """Keep a plan; a reader sees the old file or the new one, never a part.

        Raises:
            OSError: the folder cannot be written, or is full; nothing is left behind.
        """
        head = PlanHeader(key, len(plan), hashlib.sha256(plan).hexdigest())
        return self._replace(self.path(key), msgspec.json.encode(head) + b"\n" + plan)

    def discard(self, key: PlanKey) -> None:
        """Forget a plan that cannot be loaded, where the folder may be written."""
        with suppress(OSError):
            self.path(key).unlink()

    def checked(self, key: PlanKey, plan: bytes) -> Parity | None:
        """Return how this very plan did against float32, none where that was never looked at."""
        try:
            found = msgspec.json.decode(self.path(key).with_suffix(".checked").read_bytes(), type=PlanCheck)
        except (OSError, *DECODE_ERRORS):
            return None
        return found.parity if found.sha256 == hashlib.sha256(plan).hexdigest() else None

    def remember(self, key: PlanKey, plan: bytes, parity: Parity) -> None:
        """Keep how a plan did.

        Raises:
            OSError: see `write`.
        """
        content = msgspec.json.encode(PlanCheck(hashlib.sha256(plan).hexdigest(), parity))
        self._replace(self.path(key).with_suffix(".checked"), content)

    @contextmanager
    def lock(self, key: PlanKey, on_wait: Callable[[], None], limit_s: float) -> Iterator[bool]:
        """Be the only one who builds a key; gives False where the folder takes no lock, or after `limit_s`.

        The lock is the kernel's, released when its owner ends.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path(key).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            yield False
            return
        try:
            yield self._take(handle, on_wait, limit_s)
        finally:
            os.close(handle)

    @staticmethod
    def _take(handle: int, on_wait: Callable[[], None], limit_s: float) -> bool:
        until, has_reported = time.monotonic() + limit_s, False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not has_reported:
                    on_wait()
                    has_reported = True
                if time.monotonic() >= until:
                    return False
                time.sleep(_POLL_S)
            except OSError:  # a file system without locks
                return False
            else:
                return True

    def _replace(self, path: Path, content: bytes) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
        return path
