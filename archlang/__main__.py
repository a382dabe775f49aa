"""`python -m archlang`: the command line."""

from archlang.cli import main

main(prog_name="archlang")
