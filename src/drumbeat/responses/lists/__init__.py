"""Suppression lists: files of addresses that no mail goes to, ours and those of other tools."""
