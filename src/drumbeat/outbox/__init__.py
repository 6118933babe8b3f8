"""The outbox: what waits to be handed over, and the only loop that hands it over."""
