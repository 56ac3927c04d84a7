"""The command line: ``splice demo``, ``cache``, and the daemons with what looks at them."""

from __future__ import annotations

import os
import runpy
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from splice.shipping.store import Store, store_folder

if TYPE_CHECKING:
    from splice.cluster.master import Status

MASTER_PORT = 58950
"""Where a master listens unless told otherwise, as it always did."""

STATUS_SECONDS = 5.0
"""For the answer to a question about a cluster: somebody sits and waits for it."""

_address = click.option(
    "-m",
    "--master-address",
    required=True,
    metavar="ADDRESS",
    help="Where the master listens: tcp://master-node:50000.",
)
_listen = click.option(
    "--address",
    metavar="ADDRESS",
    help="Interface to listen on; every one unless given.",
)
_log_level = click.option(
    "-l",
    "--log-level",
    default="INFO",
    show_default=True,
    metavar="LEVEL",
    help="DEBUG, INFO, WARNING or ERROR; the log goes to standard error.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="splice.io", prog_name="splice")
def main() -> None:
    """Erlang-style distributed processes for Python."""


@main.command()
def demo() -> None:
    """Take a census of this machine's Python standard library, on all CPUs and on one."""
    # run as a script, for it is one: the tutorial's first page, word for word
    runpy.run_module("splice.cluster", run_name="__main__")


@main.command()
@click.option("--clear", is_flag=True, help="Remove the units that nobody uses.")
def cache(clear: bool) -> None:
    """Show what was shipped to the workers of this machine, and is kept for the next."""
    store = Store(store_folder())
    if clear:
        removed = store.clear()
        size = sum(unit.size for unit in removed)
        click.echo(f"removed {len(removed)} units, {size / 1e6:.1f} MB")
    units = store.units()
    for unit in units:
        used = datetime.fromtimestamp(unit.used, UTC).astimezone()
        name = f"{unit.name} {unit.version}".rstrip()
        note = "in use" if unit.is_in_use else f"last used {used:%Y-%m-%d %H:%M}"
        click.echo(f"{unit.ident[:12]}  {unit.size / 1e6:8.1f} MB  {name}, {note}")
    size = sum(unit.size for unit in units)
    click.echo(f"{len(units)} units, {size / 1e6:.1f} MB in {store.folder}")


@main.command()
@click.option(
    "-p",
    "--port",
    default=MASTER_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "-t",
    "--node-timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Without a sign of life after which an instance or a client counts as lost.",
)
@_log_level
@_listen
def master(port: int, node_timeout: float, log_level: str, address: str | None) -> None:
    """Know the instances, and give sessions their workers; until SIGTERM."""
    from splice.cluster.daemon import EVERYWHERE, Listening, run_master

    _set_up_logging(log_level)
    listening = Listening(address or EVERYWHERE, port, node_timeout)
    _serve(lambda: run_master(listening, lambda text: click.echo(text, err=True)))


@main.command()
@_address
@click.option(
    "-t",
    "--keepalive-timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Without a sign of life after which the master or a client counts as lost.",
)
@_log_level
@_listen
@click.option(
    "--advertise",
    metavar="ADDRESS",
    help="What others are told, when it is not the address on the way to the master.",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    help="Workers to run at most; as many as there are CPUs unless given.",
)
@click.option("--name", help="For people; the name of the machine unless given.")
def instance(
    *,
    master_address: str,
    keepalive_timeout: float,
    log_level: str,
    address: str | None,
    advertise: str | None,
    slots: int | None,
    name: str | None,
) -> None:
    """Run workers on this machine for the sessions of a master; until SIGTERM.

    The master may come later.
    """
    from splice.cluster.daemon import EVERYWHERE, Listening, run_instance

    _set_up_logging(log_level)
    listening = Listening(address or EVERYWHERE, 0, keepalive_timeout)
    _serve(
        lambda: run_instance(
            master_address, listening, name=name, slots=slots, advertise=advertise
        )
    )


@main.command()
@_address
def status(master_address: str) -> None:
    """Show the instances and sessions of a master."""
    _show(_ask(master_address, "status"))


@main.command()
@_address
@click.option("--resume", is_flag=True, help="Take new workers again.")
@click.argument("name")
def drain(master_address: str, resume: bool, name: str) -> None:
    """Have instance NAME take no new workers; those that run go on."""
    found = _ask(master_address, "drain", name, not resume)
    if not found:
        raise click.ClickException(f"the master knows no instance {name!r}")
    for each in found:
        click.echo(f"{'resumed' if resume else 'draining'}: {each}")


def _serve(serve: Any) -> None:
    """Run a daemon; what it cannot go on with ends it with one line and a fitting exit code."""
    from splice.errors import AccessDenied, SpliceError

    try:
        serve()
    except (AccessDenied, ValueError, PermissionError) as error:
        _fail(error, os.EX_CONFIG)
    except (OSError, SpliceError) as error:
        _fail(error, os.EX_UNAVAILABLE)


def _fail(error: Exception, code: int) -> None:
    click.echo(f"Error: {error}", err=True)
    sys.exit(code)


def _set_up_logging(level: str) -> None:
    from splice.cluster.daemon import set_up_logging

    try:
        set_up_logging(int(level) if level.isdecimal() else level.upper())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--log-level") from None


def _ask(master_address: str, handler: str, *args: Any) -> Any:
    """Ask a master something, from a node of its own."""
    from splice.cluster.admission import denied
    from splice.config import Config
    from splice.errors import AccessDenied, SpliceError
    from splice.net.keys import find_key
    from splice.node.hosting import NodeThread
    from splice.uri import url

    try:
        where = url("master", master_address)
        thread = NodeThread(Config(connect_timeout=STATUS_SECONDS))
        node = thread.start()
        try:
            return getattr(node.connect(where), handler)(*args).get()
        finally:
            node.begin_shut_down()
            thread.join()
    except AccessDenied:
        raise click.ClickException(str(denied(master_address, find_key()))) from None
    except (SpliceError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _show(status: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    instances = Table("instance", "address", "slots", "workers", "load", "")
    for name, offer in status.offers.items():
        count = sum(offer.workers.values())
        state = "draining" if offer.is_draining else ""
        where = name.partition("/instance")[0]
        figures = (str(offer.slots), str(count), f"{offer.load:.2f}")
        instances.add_row(offer.name, where, *figures, state)
    sessions = Table("session", "owner", "workers", "waits for")
    for name, demand in status.demands.items():
        count = sum(demand.workers.values())
        wants = (str(count), str(demand.missing))
        sessions.add_row(demand.name or name, demand.owner, *wants)
    console = Console()
    console.print(instances)
    console.print(sessions)


if __name__ == "__main__":
    main()
