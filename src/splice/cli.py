"""The command line: ``splice demo``."""

from __future__ import annotations

import runpy

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="splice.io", prog_name="splice")
def main() -> None:
    """Erlang-style distributed processes for Python."""


@main.command()
def demo() -> None:
    """Take a census of this machine's Python standard library, on all CPUs and on one."""
    # run as a script, for it is one: the tutorial's first page, word for word
    runpy.run_module("splice.cluster", run_name="__main__")


if __name__ == "__main__":
    main()
