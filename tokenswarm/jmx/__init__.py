"""JMeter plans, turned into scenarios.

May import: userinput, exit_codes, workload, config.
"""
