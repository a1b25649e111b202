"""Settings of the daemon: their definition, the YAML they are read from, and generated documentation."""
