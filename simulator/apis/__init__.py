"""One module an API: how its requests are read, how its answers are written. No clock, no sockets.

May import: config, wire.
"""
