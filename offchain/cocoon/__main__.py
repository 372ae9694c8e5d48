"""`python -m cocoon`: the `cocoon` command."""

from .cli import main

main()
