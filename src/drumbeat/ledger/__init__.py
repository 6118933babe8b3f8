"""The ledger: the states of a message, who may change them, and the cap."""
