"""Build one plan in a subprocess: `python -m reid_stream.engines.build_worker FD < job.json`.

The builders are native code that may crash, hang or take much memory; none of that may touch a daemon that follows
people. Progress and the end are JSON lines on the standard output, the plan goes to the file descriptor FD, so that it
arrives even where no disk can be written.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from reid_stream.engines.plan_cache import PlanKey
from reid_stream.errors import ModelError

_NICENESS = 10
"""The daemon may be using the CPU for inference meanwhile."""
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG (prctl(2)): of the thread that started this one."""


class BuildJob(msgspec.Struct, frozen=True, kw_only=True):
    """Job of a build."""

    key: PlanKey
    model: str
    """The ONNX file."""
    timing_cache: str | None = None
    """File of `tensorrt`'s measurements, read and written; `tensorrt_rtx` measures when it runs and has none."""


class BuildProgress(msgspec.Struct, frozen=True, tag="progress"):
    """Progress of the build."""

    phase: str
    share: float
    """[0, 1], never falls."""


class BuildFailure(msgspec.Struct, frozen=True, tag="refused"):
    """The engine cannot be built."""

    reason: str


class BuildSuccess(msgspec.Struct, frozen=True, tag="built"):
    """The plan is written."""

    bytes: int


BuildMessage = BuildProgress | BuildFailure | BuildSuccess


def build(job: BuildJob) -> bytes:
    """Return the plan.

    Raises:
        ModelError: the library refuses the network.
    """
    from reid_stream.engines.onnx_precision import strongly_typed

    trt: Any = import_module(job.key.library.split()[0])
    complaints: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            # Without a GPU every error is followed by an irrelevant one about the driver.
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR) and "Cuda Runtime" not in text:
                complaints.append(text)

    log = Log()
    builder = trt.Builder(log)
    if not builder:
        raise ModelError(_refusal(job, complaints, "no builder without a GPU and its driver"))
    strict = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # always so from 11.0 on
    network = builder.create_network(0 if strict is None else 1 << int(strict))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(strongly_typed(Path(job.model).read_bytes(), job.key.precision)):
        found = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ModelError(_refusal(job, found or complaints, "the network cannot be read"))
    config = builder.create_builder_config()
    config.add_optimization_profile(_profile(builder, network.get_input(0), job.key))
    config.progress_monitor = monitor = _monitor(trt)
    if job.key.library.startswith("tensorrt_rtx"):
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, job.key.arch.replace("_", "").upper()), 0)
    timings = _timings(config, job)
    plan = builder.build_serialized_network(network, config)
    del monitor
    if plan is None:
        raise ModelError(_refusal(job, complaints, "no reason given"))
    if timings is not None and job.timing_cache is not None:
        with suppress(OSError):  # without it the next build takes longer, that is all
            part = Path(f"{job.timing_cache}.{os.getpid()}")
            part.write_bytes(bytes(timings.serialize()))
            part.replace(job.timing_cache)
    return bytes(plan)


def _profile(builder: Any, port: Any, key: PlanKey) -> Any:
    batch, channels, height, width = (None if size < 0 else int(size) for size in port.shape)
    wanted = key.profile
    shapes = [
        (batch or many, channels or 3, height or size[0], width or size[1])
        for many, size in zip(wanted.batch, (wanted.least, wanted.usual, wanted.most), strict=True)
    ]
    profile = builder.create_optimization_profile()
    profile.set_shape(port.name, *shapes)
    return profile


def _timings(config: Any, job: BuildJob) -> Any:
    """Give the builder what was measured before; `tensorrt` only."""
    if job.timing_cache is None or job.key.library.startswith("tensorrt_rtx"):
        return None
    known = b""
    with suppress(OSError):
        known = Path(job.timing_cache).read_bytes()
    timings = config.create_timing_cache(known) or config.create_timing_cache(b"")
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        return None
    return timings


def _monitor(trt: Any) -> Any:
    """Return a progress monitor: nested phases, each of known length."""
    phases: dict[str, list[Any]] = {}  # name: [name of the one around it, steps, steps done]
    best = [0.0]

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, around: str | None, steps: int) -> None:
            phases[name] = [around, max(1, steps), 0]
            self._tell(name)

        def step_complete(self, name: str, step: int) -> bool:
            if name in phases:
                phases[name][2] = step + 1
                return self._tell(name)
            return True

        def phase_finish(self, name: str) -> None:
            phases.pop(name, None)

        def _tell(self, name: str) -> bool:
            share, inner, around = 0.0, name, phases[name]
            while True:
                share = min(1.0, (around[2] + share) / around[1])
                inner = around[0]
                if inner not in phases:
                    break
                around = phases[inner]
            if share < best[0] + 0.01:
                return True
            best[0] = share
            return say(BuildProgress(name, share))

    return Monitor()


def say(line: BuildMessage) -> bool:
    """Send a message to the parent process; False if it is gone, which ends the build."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()
    except (BrokenPipeError, ValueError):
        return False
    return True


def _refusal(job: BuildJob, complaints: list[str], otherwise: str) -> str:
    reason = " ".join((complaints[0] if complaints else otherwise).split())[:300]
    return f"{job.key.library} cannot build {job.model} for {job.key.arch} in {job.key.precision}: {reason}"


def main() -> None:
    """Build the job of the standard input."""
    with suppress(OSError, AttributeError):  # Linux only: a plan is useless once its daemon has ended
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    with suppress(OSError):
        os.nice(_NICENESS)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=BuildJob)
    try:
        plan = build(job)
        with open(int(sys.argv[1]), "wb", closefd=False) as out:
            out.write(plan)
    except ImportError as error:
        say(BuildFailure(f"building engines needs the package {error.name}: pip install 'reid-stream[gpu]' or '[rtx]'"))
    except (ModelError, OSError) as error:
        say(BuildFailure(str(error)))
    else:
        say(BuildSuccess(len(plan)))


if __name__ == "__main__":
    main()
