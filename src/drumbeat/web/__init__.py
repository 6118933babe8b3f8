"""The web server that answers readers: open pixel, links, unsubscribe, health."""
