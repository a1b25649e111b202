"""Fuzz a part of the program with corrupted input: `python -m tests.fuzz [NAME ...] [--seconds 60 | --minutes 10]`.

A target is a function of bytes in a module of this folder, in its `TARGETS`; whatever it raises is a finding. atheris
steers by coverage where it is installed (`make fuzz` brings it); without it the seeds are corrupted at random. An input
that causes a fault is printed, and belongs into `test_findings.py` once that is fixed.
"""

import argparse
import importlib
import importlib.util
import pkgutil
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import tests.fuzz

Target = Callable[[bytes], None]
_LONGEST = 20_000
_PIECES = [
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b'""',
    b"9" * 400,
    b"\x00",
    b"\xff\xfe",
    b"[" * 2000,
    b'"a":',
]


def targets() -> dict[str, tuple[Target, Sequence[bytes]]]:
    """Gather the targets of all modules of this folder."""
    found: dict[str, tuple[Target, Sequence[bytes]]] = {}
    for module in pkgutil.iter_modules(tests.fuzz.__path__):
        if not module.name.startswith(("test_", "_")):
            found |= getattr(importlib.import_module(f"tests.fuzz.{module.name}"), "TARGETS", {})
    return found


def spoil(data: bytes, dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change a few things about some bytes."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randint(0, len(out))
        match dice.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << dice.randrange(8)
            case 1:
                del out[at : at + dice.randint(1, 20)]
            case 2:
                out[at:at] = dice.choice(_PIECES)
            case 3:
                other = dice.choice(seeds)
                begin = dice.randint(0, len(other))
                out[at:at] = other[begin : begin + dice.randint(1, 60)]
            case 4:
                out[at : at + 1] = str(dice.choice([0, -1, 2**31, 2**63, 2**64, 0.5])).encode()
            case _:
                out[at:at] = out[max(0, at - dice.randint(1, 40)) : at]
    return bytes(out[:_LONGEST])


def by_chance(target: Target, seeds: Sequence[bytes], seconds: float, seed: int) -> int:
    """Spoil seeds until the time is up; return how many inputs were tried. Raises whatever the target raises."""
    dice = random.Random(seed)
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = spoil(dice.choice(seeds), dice, seeds)
        try:
            target(data)
        except BaseException:
            print(f"finding: {data!r}")
            raise
        tried += 1
    return tried


def by_coverage(name: str, seconds: float, seed: int) -> None:
    """Let libFuzzer steer; ends the process."""
    import atheris

    # Ours alone: libraries take minutes to prepare, and are not what is looked into.
    with atheris.instrument_imports(include=["reid_stream"]):
        target, seeds = targets()[name]
    dice = random.Random(seed)

    def changed(data: bytes, size: int, number: int) -> bytes:
        dice.seed(number)
        return bytes(atheris.Mutate(data, size)) if dice.random() < 0.5 else spoil(data or seeds[0], dice, seeds)[:size]

    folder = Path(tempfile.mkdtemp(prefix="reid-stream-corpus-"))
    for number, data in enumerate(seeds):
        (folder / str(number)).write_bytes(data)
    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", f"-max_len={_LONGEST}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(folder)], target, custom_mutator=changed)
    atheris.Fuzz()


def main() -> int:
    """Run the targets one after another; 1 if any had a finding."""
    parser = argparse.ArgumentParser(description="Fuzz parts of the program with corrupted input.")
    parser.add_argument("names", nargs="*", help="targets; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each")
    parser.add_argument("--minutes", type=float, help="for all together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        by_coverage(given.names[0], given.seconds, given.seed)
    if given.minutes is not None:
        given.seconds = 60 * given.minutes / len(given.names or targets())
    has_atheris = importlib.util.find_spec("atheris") is not None
    failed = 0
    for name in given.names or targets():
        if has_atheris:
            # libFuzzer ends the process, so each target has its own.
            command = [sys.executable, "-m", "tests.fuzz", name, "--one", "--seconds", str(given.seconds)]
            failed += subprocess.run([*command, "--seed", str(given.seed)], check=False).returncode != 0
            continue
        target, seeds = targets()[name]
        try:
            print(f"{name}: {by_chance(target, seeds, given.seconds, given.seed)} inputs, no finding", flush=True)
        except Exception:  # noqa: BLE001 (whatever it is, it is the finding)
            traceback.print_exc()
            failed += 1
    print(f"{failed} targets with findings")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
