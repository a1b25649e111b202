"""python -m trainer is reid-train."""

from trainer.cli import main

main()
