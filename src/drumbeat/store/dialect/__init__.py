"""Everything that differs between SQLite and PostgreSQL, and nothing else.

No other package asks which database it talks to.
"""
