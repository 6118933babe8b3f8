"""Alembic's folder: env.py runs inside the transaction that store.upgrade opens."""
