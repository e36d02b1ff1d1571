"""``python -m roadstead``: the command line, also where no script is installed."""

from roadstead.cli import main

main()
