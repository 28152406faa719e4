"""How the tables get from one version of the service to the next (Alembic)."""
