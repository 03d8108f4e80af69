"""The model service behind every API: credentials, quotas, latency, what is answered, delivery.

May import: config, truth, wire, apis.
"""
