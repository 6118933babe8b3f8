"""Data from outside into the store: files, read through a mapping in YAML."""
