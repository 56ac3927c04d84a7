"""Peers: other libraries at the same work, in turns with splice, each in an OS process of its own.

``scripts/bench --peers`` starts for each row of `bench.peers.rows` one contender for splice and one
for each peer (`bench.peers.contender`), in the peers' own environment, and lets them take turns
(`bench.peers.turns`)::

    turns --- a line --->  contender of splice       (this environment)
          <-- a value ---
          --- a line --->  contender of a peer       (the peers' environment, or Erlang)
          <-- a value ---
"""
