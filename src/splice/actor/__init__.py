"""Processes on one node: promises, mailboxes, the scheduler; knows no socket."""
