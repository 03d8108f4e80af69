"""One file a subcommand of `python -m analysis`.

May import: record, userinput, exit_codes, metrics, statistics, sources, figures, server, report, compare, sizing.
"""
