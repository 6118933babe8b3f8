"""The store: tables, types, connections and migrations, on SQLite and PostgreSQL alike."""
