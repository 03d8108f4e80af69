"""Before the first request: is everything there, can be reached, can be carried, was meant.

May import: redaction, record, userinput, workload, apis, apps, transport, client, config, keys, results.
"""
