"""What a run was told: options, environment, secrets, identity, and the settings made of them.

May import: redaction, record, userinput, exit_codes, workload, apis, apps, recordings, traffic, transport, metrics.
"""
