"""What the simulator is told, at its start and while it runs.

May import: nothing of ours.
"""
