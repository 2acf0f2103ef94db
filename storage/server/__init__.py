"""A PostgreSQL server of a workspace's own: made, started and stopped by whoever owns the workspace."""
