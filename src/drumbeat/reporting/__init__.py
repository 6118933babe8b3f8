"""What became of the campaigns: figures by query, shown in a terminal and as a page."""
