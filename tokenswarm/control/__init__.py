"""The run as a whole: its state, its workers, a capacity search.

May import: lease, record, userinput, exit_codes, workload, apis, transport, metrics, config, results, generator.
"""
