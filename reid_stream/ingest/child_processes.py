"""The fork server that cameras and workers are forked from: what it may import, and what of the environment it gets.

It is started once, with FFmpeg loaded and no network open. Modules in the working folder are not importable in it, and
of the environment it gets what libraries need, not what may be a secret: a camera's decoder works on data from outside.
"""

import functools
import multiprocessing
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_PRELOADED = ["reid_stream.ingest.camera_process_main", "av", "reid_stream.cli"]
_NAMES = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER"})
_PREFIXES = (
    "CUDA_", "KMP_", "LC_", "LD_", "LIBVA_", "MALLOC_", "MKL_", "NVIDIA_", "OMP_", "ONNX", "OPENBLAS_", "OPENVINO_",
    "OV_", "PYTHON", "REID_STREAM_", "SSL_CERT_", "TORCH", "XDG_", "YOLO_",
)  # fmt: skip
_SECRET = re.compile(r"pass|pwd|secret|token|credential|apikey|api_key|_key$|auth", re.IGNORECASE)
_starting = threading.Lock()


def harmless(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that children get: known ones, whose names or values do not look like a secret (pure)."""
    return {
        name: value
        for name, value in environ.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and not _SECRET.search(name) and "://" not in value
    }


def fork_server() -> ForkServerContext:
    """Return what starts processes, started."""
    prepare()
    return _context()


def prepare(*modules: str) -> None:
    """Start the fork server, which loads FFmpeg meanwhile; returns at once. Without this the first camera does.

    `modules`: for other processes that are forked from it; they must start no threads.
    """
    if modules:
        _context().set_forkserver_preload([*_PRELOADED, *modules])
    with _starting, _environment({**harmless(os.environ), "PYTHONSAFEPATH": "1"}):
        forkserver.ensure_running()


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # What a camera needs, loaded once; `cli` because a child loads the program's main module again.
    context.set_forkserver_preload(_PRELOADED)
    return context


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have these variables alone while the block runs: multiprocessing passes on its own environment as it is."""
    before = dict(os.environ)
    _context()
    try:
        for name in before.keys() - wanted.keys():
            del os.environ[name]
        os.environ.update(wanted)
        yield
    finally:
        for name in wanted.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
