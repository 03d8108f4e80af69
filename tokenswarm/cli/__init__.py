"""The command `tokenswarm`: set up, run, look at results. It starts the other parts and does nothing of theirs itself.

May import: redaction, installation, userinput, exit_codes, record, transport, config, preflight, selfcheck.
"""
