"""Run `python -m trainer` as `reid-train`."""

from trainer.cli import main

main()
