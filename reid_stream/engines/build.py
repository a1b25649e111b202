"""Get a compiled plan from the cache or build it once: one process builds, the others wait and read its file."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from reid_stream.bundles.bundle import MODEL_FILE, Bundle
from reid_stream.bundles.network_file import is_openvino_only
from reid_stream.config.environment import child_environment
from reid_stream.engines.build_worker import BuildFailure, BuildJob, BuildMessage, BuildProgress, BuildSuccess
from reid_stream.engines.plan_cache import OptimizationProfile, PlanCache, PlanKey
from reid_stream.engines.tensorrt_library import Precision, TensorRtLibrary
from reid_stream.errors import DECODE_ERRORS, ModelError

BUILD_LIMIT_S = 3600.0
"""A build that takes longer hangs; the largest known take minutes."""
_BATCHES = {"detector": (1, 4, 16), "embedder": (1, 16, 64)}
_LEAST_PX = 32


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A plan, where it came from, and notes on how it was obtained."""

    plan: bytes
    origin: Literal["cache", "built"]
    notes: tuple[str, ...] = field(default=())
    """A file that was no good, a cache that cannot be written."""


def key_of(bundle: Bundle, folder: Path, library: TensorRtLibrary, arch: str, precision: Precision) -> PlanKey:
    """Return what a bundle's plan for a GPU is known by.

    Raises:
        ModelError: the network cannot be read.
    """
    if is_openvino_only(folder):
        raise ModelError(f"TensorRT must be given an ONNX network, {folder} holds an OpenVINO one; OpenVINO serves it")
    try:
        model = hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"every bundle carries its network; {folder}: {error.strerror or error}") from error
    profile = profile_of(bundle.kind, (bundle.input.height, bundle.input.width))
    return PlanKey(model=model, library=library.label, arch=arch, precision=precision, profile=profile)


def profile_of(kind: str, most: tuple[int, int]) -> OptimizationProfile:
    """Return the input shapes of a network, given the largest image (height, width) in pixels.

    Crops have one size. Frames keep their shape within the largest image, most of
    them 16:9, sides in multiples of 32.
    """
    if kind == "embedder":
        return OptimizationProfile(batch=_BATCHES[kind], least=most, usual=most, most=most)
    wide = -(-most[1] * 9 // 16 // _LEAST_PX) * _LEAST_PX
    usual = (min(most[0], wide), most[1])
    return OptimizationProfile(batch=_BATCHES["detector"], least=(_LEAST_PX, _LEAST_PX), usual=usual, most=most)


def get_plan(
    key: PlanKey,
    model: Path,
    plans: PlanCache,
    *,
    report: Callable[[str], None],
    progress: Callable[[BuildProgress], None] = lambda _line: None,
    stop: threading.Event | None = None,
) -> BuildResult:
    """Return the plan of a key, built if need be.

    Args:
        key: of the plan.
        model: the ONNX file.
        plans: the cache.
        report: receives progress messages.
        progress: takes how far the build is.
        stop: ends the build when it is set.

    Raises:
        ModelError: it cannot be built.
    """
    found, why = plans.read(key)
    if found is not None:
        return BuildResult(found, "cache")
    notes = [f"{why}; building it again"] if why else []
    with plans.lock(
        key, lambda: report("another process builds this engine; waiting for it"), BUILD_LIMIT_S
    ) as is_ours:
        if is_ours:
            found, _ = plans.read(key)
            if found is not None:
                return BuildResult(found, "cache", tuple(notes))
        for note in notes:
            report(note)
        timings = plans.folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', key.library)}-{key.arch}.timings"
        plan = run_builder(BuildJob(key=key, model=str(model), timing_cache=str(timings)), progress, stop)
        try:
            plans.write(key, plan)
        except OSError as error:
            notes.append(
                f"engines are kept in {plans.folder}, which cannot be written ({error.strerror or error}): this one "
                "is in memory only"
            )
            report(notes[-1])
    return BuildResult(plan, "built", tuple(notes))


def run_builder(
    job: BuildJob,
    progress: Callable[[BuildProgress], None],
    stop: threading.Event | None = None,
    command: tuple[str, ...] = (sys.executable, "-m", "reid_stream.engines.build_worker"),
) -> bytes:
    """Build a plan in a separate process and return it.

    Raises:
        ModelError: the library refuses, the process crashed, took too long, or was stopped.
    """
    memory = os.memfd_create("plan")
    process = None
    try:
        process = subprocess.Popen(
            [*command, str(memory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            pass_fds=(memory,), start_new_session=True, env=child_environment(os.environ),
        )  # fmt: skip
        end = _follow(process, job, progress, stop)
        if isinstance(end, BuildFailure):
            raise ModelError(end.reason)
        size = os.fstat(memory).st_size
        if end is None or size != end.bytes:
            raise ModelError(f"building {job.model} for {job.key.arch} {_ended(process, stop)}")
        return os.pread(memory, size, 0)
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        os.close(memory)


def _follow(
    process: "subprocess.Popen[bytes]",
    job: BuildJob,
    progress: Callable[[BuildProgress], None],
    stop: threading.Event | None,
) -> BuildSuccess | BuildFailure | None:
    """Hand on progress until the process ends; none where it ended without a word."""
    assert process.stdin is not None
    assert process.stdout is not None
    over = threading.Event()

    def watch() -> None:
        waited = 0.0
        while not over.wait(0.1):
            waited += 0.1
            if waited > BUILD_LIMIT_S or (stop is not None and stop.is_set()):
                process.kill()
                return

    watcher = threading.Thread(target=watch, name="engine-build-watch", daemon=True)
    watcher.start()
    end: BuildSuccess | BuildFailure | None = None
    try:
        with process.stdin as job_in:
            job_in.write(msgspec.json.encode(job))
        for text in process.stdout:
            try:
                line: BuildMessage = msgspec.json.decode(text, type=BuildMessage)
            except DECODE_ERRORS:
                continue  # a library that prints
            if isinstance(line, BuildProgress):
                progress(line)
            else:
                end = line
    except BrokenPipeError:
        pass
    finally:
        process.stdout.close()
        process.wait()
        over.set()
        watcher.join()
    return end


def _ended(process: "subprocess.Popen[bytes]", stop: threading.Event | None) -> str:
    if stop is not None and stop.is_set():
        return "was stopped"
    code = process.returncode
    if code is not None and code < 0:
        return f"must end with a plan, the builder's process died of {signal.Signals(-code).name}"
    return f"must end with a plan, the builder's process ended with code {code}"
