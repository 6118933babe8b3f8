"""Planning: who gets which mail and why, in one transaction; and the explanation of it."""
