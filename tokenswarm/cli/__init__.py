"""The command `tokenswarm`: set up, run, look at results. It starts the other parts and does nothing of theirs itself.

May import: redaction, installation, lease, sweep_file, userinput, exit_codes, record, workload, transport, config,
results, preflight, selfcheck.
"""
