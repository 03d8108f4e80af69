"""What is seen while it runs: terminal, web page, criteria so far.

May import: redaction, installation, record, userinput, exit_codes, workload, metrics, config, generator, control,
runner.
"""
