"""The cases by name, in the order of the table; a case's modules load when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from bench.measuring import Figure, Scale

CASES = {
    "ask": "one_node:ask",
    "run-ask": "one_node:run_ask",
    "thread-ask": "one_node:thread_ask",
    "piped": "one_node:piped",
    "tell": "one_node:tells",
    "run-tell": "one_node:run_tells",
    "flood": "one_node:flood",
    "run-flood": "one_node:run_flood",
    "ring": "one_node:ring",
    "skynet": "one_node:skynet",
    "run-skynet": "one_node:run_skynet",
    "spawn": "one_node:spawn",
    "spawn-one": "one_node:spawn_one",
    "idle": "one_node:idle",
    "flat": "flat:flat",
    "far-ask": "two_nodes:far_ask",
    "far-thread-ask": "two_nodes:far_thread_ask",
    "far-piped": "two_nodes:far_piped",
    "far-tell": "two_nodes:far_tell",
    "far-arrays": "two_nodes:far_arrays",
    "far-tcp": "two_nodes:far_tcp",
    "far-plain-tcp": "two_nodes:far_plain_tcp",
    "all-to-all": "many_nodes:all_to_all",
    "all-pairs": "many_nodes:all_pairs",
    "flood-far": "flood:flood_far",
    "stream": "streams:stream",
    "start": "cluster:start",
    "noops": "cluster:noops",
    "million": "cluster:million",
    "skewed": "cluster:skewed",
    "shared": "cluster:shared",
    "ship-cold": "shipped:cold",
    "ship-warm": "shipped:warm",
    "ship-miss": "shipped:miss",
    "import": "starting:imports",
}


def find(name: str) -> Callable[[Scale], list[Figure]]:
    """Return the function of a case."""
    module, function = CASES[name].split(":")
    case: Callable[[Scale], list[Figure]] = getattr(
        importlib.import_module(f"bench.{module}"), function
    )
    return case
