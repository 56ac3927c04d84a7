"""Opening a node to others: loads ZeroMQ, finds the key, binds the sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

# registers a hook of `atexit` that ends what sends uncopied: ours must come before it
import zmq.utils.garbage  # noqa: F401

from splice.config import VERSION
from splice.net.endpoint import Endpoint
from splice.net.keys import find_key
from splice.net.peers import Peers
from splice.node.leaving import come_first

if TYPE_CHECKING:
    from splice.node.node import Node, WireMaker


def open_peers(node: Node, make_wire: WireMaker | None) -> tuple[Peers, bytes]:
    """Return the channels of `node`, its sockets bound, and the cluster key.

    Raises:
        OSError: it cannot listen at the configured address.
        PermissionError: the key file can be read by others.
    """
    come_first()
    keys = find_key(node.config.key)
    peers = Peers(
        incarnation=node.incarnation,
        version=VERSION,
        key=keys.handshake,
        config=node.config,
        loop=node.loop,
        random=node.random,
        receiver=node.exchange,
    )
    if make_wire is not None:
        peers.start(make_wire(node, peers))
    else:
        peers.start(
            Endpoint(
                loop=node.loop,
                config=node.config,
                keys=keys,
                listener=peers,
                around=node.scheduler.turn_after,
            )
        )
    return peers, keys.secret
