"""Benchmarks: what splice costs, beside floors that were measured in the same breath.

``python -m bench`` runs each case in an OS process of its own (`bench.child`); a case alternates
splice with its floors and gives `bench.measuring.Figure` objects; the parent gathers them as JSON
lines and draws the table.  bench/README.md says what each case measures.
"""
