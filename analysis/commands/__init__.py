"""One file a subcommand of `python -m analysis`.

May import: lease, sweep_file, redaction, record, userinput, exit_codes, metrics, statistics, sources, figures,
findings, server, plots, report, compare, history, export, sizing.
"""
