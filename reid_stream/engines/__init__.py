"""How a network is run: the protocol here, one library a file; `load` is what `assembly` calls."""
