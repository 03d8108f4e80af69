"""Front ends of an application over the orchestrator's work, each with a stream format of its own.

May import: config, truth, wire, service, rag.
"""
