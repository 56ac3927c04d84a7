"""Modules on their way to workers: a worker that lacks one gets it from its client."""
