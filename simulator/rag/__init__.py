"""The RAG orchestrator target: retrieval, history, pipeline.

May import: config, truth, wire.
"""
