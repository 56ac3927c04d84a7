"""Nodes: processes and channels joined; the user's `runtime`."""
