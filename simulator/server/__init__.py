"""Both targets on their ports, one or several processes.

May import: config, truth, wire, apis, service, rag, apps.
"""
