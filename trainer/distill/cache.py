"""Cache of teachers' answers on disk, written in order, so that a killed run computes none twice.

    CACHE/<teacher hash>/<image set hash>.npy      float16 (n, d), unit length; row v answers view v
    CACHE/<teacher hash>/<image set hash>.digests  8 bytes per row: which pixels were answered

Views are numbered and repeatable from (seed, number), so pixels are not stored. A row counts once its digest is
written, which happens after the vector; a torn row at the end is cut off on opening.

Letters: n rows, d dimensions of the teacher.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid_stream.embed.preprocess import Floats, UInt8
from trainer.errors import DataError, TrainerError

DIGEST = 8
"""Bytes; two views match by chance with probability 2^-64."""
_HEADER = 128
"""Bytes of the .npy header: fixed, so that the number of rows can be updated in place."""


class AnswerCache:
    """Vectors of one teacher for one sequence of views."""

    def __init__(self, folder: Path, teacher: str, images: str, dim: int) -> None:
        """Open or create the files of a teacher's hash and an image set's hash.

        Raises:
            DataError: the files were written for vectors of another length, or are no cache.
            TrainerError: the folder cannot be written.
        """
        self.path = folder / teacher / f"{images}.npy"
        self.dim = dim
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for file in (self.path, self._digests):
                file.touch()
            if self.path.stat().st_size < _HEADER:
                self.path.write_bytes(_header(0, dim))
                os.truncate(self._digests, 0)
            self._must_fit()
            self._repair()
        except OSError as error:
            raise TrainerError(f"distill.cache must be writable, {self.path}: {error.strerror or error}") from error

    @property
    def _digests(self) -> Path:
        return self.path.with_suffix(".digests")

    def __len__(self) -> int:
        return self.rows

    def append(self, vectors: Floats, views: UInt8) -> None:
        """Add the answers (m, d) to the next m views.

        Raises:
            DataError: vectors of another length, or values that are not finite.
            TrainerError: the disk is full; rows written before stay.
        """
        if vectors.shape != (len(views), self.dim):
            raise DataError(
                f"a teacher must give ({len(views)}, {self.dim}) numbers as it did before, got {vectors.shape}; "
                f"was {self.path.parent} written by another network?"
            )
        if not np.isfinite(vectors).all():
            raise DataError(f"a teacher must give finite numbers, view {self.rows + _first_bad(vectors)} got others")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        data = (vectors / np.maximum(norms, 1e-12)).astype(np.float16).tobytes()
        try:
            with self.path.open("r+b") as file:
                file.seek(_HEADER + 2 * self.dim * self.rows)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._digests.open("r+b") as file:
                file.seek(DIGEST * self.rows)
                file.write(b"".join(digest(view) for view in views))
            self.rows += len(views)
            with self.path.open("r+b") as file:
                file.write(_header(self.rows, self.dim))
        except OSError as error:
            self._repair()
            raise TrainerError(
                f"distill.cache must have room, {self.path}: {error.strerror or error}; {self.rows} answers are kept; "
                "make room, then --resume"
            ) from error

    def read(self, start: int, views: UInt8) -> Floats:
        """Return the answers (m, d) to the m views from number `start` on.

        Raises:
            DataError: they were not answered yet, or the pixels are not those that were answered.
        """
        count = len(views)
        if start + count > self.rows:
            raise DataError(f"views {start} to {start + count - 1} must be answered first, {self.rows} are")
        with self._digests.open("rb") as file:
            file.seek(DIGEST * start)
            kept = file.read(DIGEST * count)
        if kept != b"".join(digest(view) for view in views):
            raise DataError(
                f"views from {start} must be those that the teacher answered, {self.path}: their pixels differ; "
                "take an empty distill.cache (another version of an image library changes pixels)"
            )
        with self.path.open("rb") as file:
            file.seek(_HEADER + 2 * self.dim * start)
            data = file.read(2 * self.dim * count)
        return np.frombuffer(data, np.float16).reshape(count, self.dim).astype(np.float32)

    def _must_fit(self) -> None:
        with self.path.open("rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
            except ValueError as error:
                raise DataError(f"a cache must be a .npy file, {self.path}: {error}; delete it") from error
            if version != (1, 0) or kind != np.float16 or len(shape) != 2 or shape[1] != self.dim:
                raise DataError(
                    f"a cache must hold float16 rows of {self.dim} numbers, {self.path} holds {kind} {shape}; "
                    "the teacher gives vectors of another length than before: take another distill.cache"
                )

    def _repair(self) -> None:
        """Count the whole rows, and truncate a torn one that a kill left."""
        whole = (self.path.stat().st_size - _HEADER) // (2 * self.dim)
        self.rows = min(whole, self._digests.stat().st_size // DIGEST)
        os.truncate(self.path, _HEADER + 2 * self.dim * self.rows)
        os.truncate(self._digests, DIGEST * self.rows)
        with self.path.open("r+b") as file:
            file.write(_header(self.rows, self.dim))


def digest(view: UInt8) -> bytes:
    """Return the digest of one view (h, w, 3)."""
    return hashlib.blake2b(np.ascontiguousarray(view).tobytes(), digest_size=DIGEST).digest()


def set_hash(pixels: UInt8, *facts: object) -> str:
    """Return a name for crops (n, h, w, 3) and all else that decides what views they give."""
    found = hashlib.sha256(repr((pixels.shape, *facts)).encode())
    for row in pixels:
        found.update(np.ascontiguousarray(row).data)
    return found.hexdigest()[:16]


def _header(rows: int, dim: int) -> bytes:
    text = repr({"descr": "<f2", "fortran_order": False, "shape": (rows, dim)})
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11).encode() + b"\n"


def _first_bad(vectors: npt.NDArray[np.float32]) -> int:
    return int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
