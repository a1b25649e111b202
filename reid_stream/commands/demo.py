"""Prepare the demo: one street clip as two cameras, so that people reappear and keep their global IDs.

    footage -> street.avi -> plaza.mp4 (other crop, scale and colour, seconds later) -> cams.yaml

`python -m reid_stream.commands.demo` writes below `.demo/`; then `reid-stream --cameras .demo/cams.yaml`. What exists
is kept. Needs no camera, GPU, Redis or ffmpeg.
"""

import argparse
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from reid_stream.bundles import catalog
from reid_stream.config.environment import child_environment
from reid_stream.errors import ConfigError, ModelError, ReidStreamError
from reid_stream.images import UInt8

NAME = "vtest.avi"
SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
"""Checksum of OpenCV's sample: PETS 2009, S2.L1, view 1, 795 frames of 768x576 at 10 fps."""
URL = "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data/vtest.avi"
PACKAGE = "opencv-doc"
FOLDER = Path(".demo")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

# The second camera sees most of the image, so that both see the same people; larger, warmer, less contrast.
_CROP = (0.12, 0.10, 0.94, 1.00)
_SIZE = (800, 656)
_GAIN = (1.08, 0.97, 0.82)
_GAMMA = 0.85
_LATER_S = 6.0

Say = Callable[[str], None]


def prepare(folder: Path, environ: Mapping[str, str], say: Say) -> Path:
    """Make footage, models and cams.yaml where they are missing; return the path of cams.yaml.

    Raises:
        ConfigError: no footage was found.
        ModelError: no models were found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    models = _models(folder, environ, say)
    street = folder / "street.avi"
    if not _is_sample(street):
        _keep(footage(environ, say), street)
    plaza = folder / "plaza.mp4"
    if not plaza.is_file():
        second_view(street, plaza, say)
    cams = folder / "cams.yaml"
    cams.write_text(_cams(models), encoding="utf-8")
    say(f"{cams}: two cameras, an embedded Redis")
    return cams


def footage(environ: Mapping[str, str], say: Say) -> Path:
    """Find the clip in a folder named by a variable, by download, or in Debian's package; its SHA-256 is checked.

    Raises:
        ConfigError: none of these works; the message has the reason for each.
    """
    tried: list[str] = []
    for find in (_from_folders, _from_download, _from_debian):
        try:
            path = find(environ, say)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            tried.append(f"{find.__name__.removeprefix('_').replace('_', ' ')}: {_brief(error)}")
            continue
        if _is_sample(path):
            say(f"footage: {path}")
            return path
        tried.append(f"{path}: another file than OpenCV's sample (sha256 differs)")
    raise ConfigError(
        f"the demo needs OpenCV's sample {NAME}, found none; put it into a folder and set REID_STREAM_SAMPLES to it\n  "
        + "\n  ".join(tried)
    )


def second_view(source: Path, out: Path, say: Say, frames: int | None = None) -> None:
    """Write the footage, or its first `frames`, as another camera would see it: cropped, scaled, in other colours."""
    import av  # heavy
    import numpy as np

    curve = (np.arange(256) / 255.0) ** _GAMMA * 255.0
    table = np.clip(np.outer(curve, _GAIN), 0, 255).astype(np.uint8)  # (256, 3)
    part = out.with_suffix(".part.mp4")
    with av.open(str(source)) as reader, av.open(str(part), "w", format="mp4") as writer:
        video = reader.streams.video[0]
        video.thread_type = "AUTO"
        rate = video.average_rate or Fraction(10)
        stream = writer.add_stream("libx264", rate=rate, options={"crf": "26", "preset": "veryfast"})
        stream.width, stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        # A key frame each second, so that a player can start anywhere.
        stream.gop_size = round(float(rate))
        total = min(video.frames or 0, frames or video.frames)
        for number, frame in enumerate(itertools.islice(reader.decode(video), frames)):
            image: UInt8 = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            h, w = image.shape[:2]
            x1, y1, x2, y2 = (round(share * side) for share, side in zip(_CROP, (w, h, w, h), strict=True))
            image = np.ascontiguousarray(image[y1:y2, x1:x2])
            image = np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)
            view = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(*_SIZE, format="yuv420p")
            view.pts = number
            view.time_base = 1 / rate
            writer.mux(stream.encode(view))
            if number % 200 == 0:
                say(f"second camera: frame {number} of {total}")
        writer.mux(stream.encode())
    part.replace(out)
    say(f"second camera: {out}")


def _from_folders(environ: Mapping[str, str], _say: Say) -> Path:
    folders = [environ.get("REID_STREAM_SAMPLES", "")]
    if data := environ.get("REID_STREAM_DATA"):
        folders.append(f"{data}/video")
    for folder in filter(None, folders):
        path = Path(folder).expanduser() / NAME
        if path.is_file():
            return path
    raise FileNotFoundError("no vtest.avi in $REID_STREAM_SAMPLES or $REID_STREAM_DATA/video")


def _from_download(_environ: Mapping[str, str], say: Say) -> Path:
    import pooch  # heavy

    say("footage: downloading OpenCV's sample (8 MB)")
    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(timeout=15)
    return Path(pooch.retrieve(URL, known_hash=f"sha256:{SHA256}", fname=NAME, path=_cache(), downloader=downloader))


def _from_debian(_environ: Mapping[str, str], say: Say) -> Path:
    kept = _cache() / NAME
    if kept.is_file():
        return kept
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FileNotFoundError("no apt-get and dpkg-deb here")
    say(f"footage: unpacking it from Debian's {PACKAGE} (96 MB)")
    with tempfile.TemporaryDirectory(dir=_cache()) as name:
        folder = Path(name)
        _call(["apt-get", "download", "-q", PACKAGE], folder)
        package = next(folder.glob("*.deb"))
        _call(["dpkg-deb", "-x", package.name, "unpacked"], folder)
        found = next(iter(sorted((folder / "unpacked").rglob(f"{NAME}*"))), None)
        if found is None:
            raise FileNotFoundError(f"{package.name} holds no {NAME}")
        if found.suffix == ".gz":
            import gzip

            kept.write_bytes(gzip.decompress(found.read_bytes()))
        else:
            _keep(found, kept)
    return kept


def _call(command: list[str], folder: Path) -> None:
    # apt-get may need a proxy, whose URL may hold a password.
    environ = child_environment(os.environ, _PROXIES)
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300, env=environ)


def _cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("reid-stream", ensure_exists=True)


def _keep(source: Path, target: Path) -> None:
    part = target.with_suffix(".part")
    shutil.copyfile(source, part)
    part.replace(target)


def _is_sample(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def _models(folder: Path, environ: Mapping[str, str], say: Say) -> dict[str, str]:
    """Return the two bundles: the default ones, else wrapped from the networks in $REID_STREAM_DATA."""
    try:
        return {kind: str(catalog.find("default", kind).resolve()) for kind in ("detector", "embedder")}
    except ModelError:
        data = environ.get("REID_STREAM_DATA")
        if not data:
            raise
    return dict(_wrapped(Path(data).expanduser(), folder / "models", say))


def _wrapped(data: Path, folder: Path, say: Say) -> Iterator[tuple[str, str]]:
    from reid_stream.bundles import wrap

    detector, embedder = folder / "detector", folder / "embedder"
    if catalog.kind_of(detector) != "detector":
        say("models: wrapping YOLO11n as the detector")
        network = data / "detector/yolo11n_dequant.onnx"
        wrap.wrap_detector(network, detector, licence="AGPL-3.0 (YOLO11 weights)")
    yield "detector", str(detector.resolve())
    if catalog.kind_of(embedder) != "embedder":
        say("models: wrapping OSNet as the embedder")
        network = data / "reid/osnet_x0_25_msmt17.onnx"
        wrap.wrap_embedder(network, embedder, licence="trained on MSMT17: research only")
    yield "embedder", str(embedder.resolve())


def _cams(models: Mapping[str, str]) -> str:
    return f"""\
# Written by `python -m reid_stream.commands.demo`.
site: demo
redis:
  url: embedded
  directory: redis
models:
  detector: {models["detector"]}
  embedder: {models["embedder"]}
store:
  folder: store
  max_gb: 1
  settle_s: 3
web:
  enabled: true
cameras:
  - id: street
    url: street.avi
    loop: true
  - id: plaza
    url: plaza.mp4
    loop: true
    start_after_s: {_LATER_S:g}
"""


def _brief(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        last = str(error.stderr or error).strip().splitlines()
        return last[-1] if last else str(error)
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def main() -> None:
    """Prepare `.demo/` and print what was done."""
    from reid_stream.console.output import Output

    parser = argparse.ArgumentParser(prog="python -m reid_stream.commands.demo", description="Prepare the demo.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to write it (default: %(default)s)")
    folder: Path = parser.parse_args().folder
    out = Output(error=True)
    try:
        prepare(folder, os.environ, lambda text: out.say(f"demo: {text}"))
    except ReidStreamError as error:
        out.say(f"demo: {error}", style="red")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
