"""The chat-completion target: quotas, latency, tokens.

May import: config, truth, wire.
"""
