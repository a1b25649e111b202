"""Build a daemon from settings; the only package that names concrete classes."""
