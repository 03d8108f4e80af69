"""One process's part of a run: its schedule, its requests, where its rows go.

May import: record, workload, payload, apis, recordings, traffic, client, config, results, generator.
"""
