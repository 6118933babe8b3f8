"""The project: what a company edits, loaded from a folder and checked as a whole."""
