"""Measures imports and plans at 100,000 and 1,000,000 customers; `make bench`, see bench/README.md."""
