"""Generate the reference pages of the documentation from the code they describe.

`python -m docs.generators`, run from a checkout, writes configs/default.yaml, the JSON Schemas and docs/reference/. A
test compares the committed files with what the code generates.
"""
