"""``python -m segapp`` is the command line."""

from segapp.cli import main

main()
