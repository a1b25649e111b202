"""Write every generated file below the current folder: `python -m docs.generators`."""

import sys
from pathlib import Path

from docs.generators.pages import PAGES
from reid_stream.config import docs as config_docs
from reid_stream.publish import json_schema


def main() -> None:
    """Write configs/default.yaml, the JSON Schemas and docs/reference/."""
    config_docs.main()
    for path in json_schema.write(json_schema.DIRECTORY):
        sys.stdout.write(f"{path}\n")
    for name, generate in PAGES.items():
        path = Path("docs/reference") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generate(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
