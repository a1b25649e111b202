"""python -m reid_stream."""

from reid_stream.cli import main

main()
