"""What really happened: the truth log, its counts, and the metrics made of them.

May import: config.
"""
