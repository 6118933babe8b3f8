"""Named audiences: segments.yaml is parsed (grammar), compiled to SQL (compile) and explained (explain)."""
