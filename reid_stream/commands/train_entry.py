"""Entry point of `reid-train`: run the trainer, unless another project's package `trainer` lies in its place."""

import importlib

from reid_stream.console.output import Output


def main() -> None:
    """Run `trainer.cli`; exit 2 with one message where `trainer` is not the one that reid-stream installs."""
    package = importlib.import_module("trainer")
    if getattr(package, "PROJECT", None) != "reid-stream":
        where = next(iter(getattr(package, "__path__", [])), "an unknown place")
        Output(error=True).say(
            f"reid-train: the package `trainer` must be that of reid-stream, found another project's in {where}; "
            "install reid-stream into an environment of its own, or uninstall the other package"
        )
        raise SystemExit(2)
    importlib.import_module("trainer.cli").main()
