"""Wire the parts of a site: the only package that names concrete classes."""
