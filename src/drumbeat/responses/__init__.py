"""What readers, and the systems between us and them, did with a message."""
