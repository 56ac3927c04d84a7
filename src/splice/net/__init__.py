"""Bytes between nodes: codec, frames, channels and sockets; knows no process."""
