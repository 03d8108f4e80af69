"""JMeter plans, turned into scenarios.

May import: redaction, userinput, exit_codes, workload, config.
"""
