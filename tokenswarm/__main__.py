"""`python -m tokenswarm`: the same as the command `tokenswarm`, where that is not installed."""

from tokenswarm.cli.main import main

main()
