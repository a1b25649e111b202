"""Fork server of cameras and workers: the modules it may import and the environment variables it receives.

It is started once, with FFmpeg loaded and no network open. Modules in the working folder are not importable in it, and
of the environment it gets what libraries need, not what may be a secret: a camera's decoder works on data from outside.
"""

import functools
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerContext

from reid_stream.config.environment import child_environment
from reid_stream.ingest.scratch_folder import scratch_folder

_PRELOADED = ["reid_stream.ingest.camera_process_main", "av", "reid_stream.cli"]
_starting = threading.Lock()


def fork_server() -> ForkServerContext:
    """Return the multiprocessing context of the fork server, which is started."""
    prepare()
    return _context()


def prepare(*modules: str) -> None:
    """Start the fork server, which loads FFmpeg meanwhile; returns at once. Without this the first camera does.

    `modules`: for other processes that are forked from it; they must start no threads.
    """
    if modules:
        _context().set_forkserver_preload([*_PRELOADED, *modules])
    with _starting, _environment({**child_environment(os.environ), "PYTHONSAFEPATH": "1"}):
        if multiprocessing.parent_process() is None:  # children use the folder of their parent
            _use_scratch_folder()
        forkserver.ensure_running()


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # What a camera needs, loaded once; `cli` because a child loads the program's main module again.
    context.set_forkserver_preload(_PRELOADED)
    return context


@functools.cache
def _use_scratch_folder() -> None:
    """Put multiprocessing's temporary folder, with the fork server's socket, into ours."""
    before, tempfile.tempdir = tempfile.tempdir, str(scratch_folder())
    try:
        util.get_temp_dir()  # made once per process
    finally:
        tempfile.tempdir = before


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
