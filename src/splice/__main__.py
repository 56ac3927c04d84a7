"""``python -m splice``: the command line."""

from splice.cli import main

main(prog_name="splice")
