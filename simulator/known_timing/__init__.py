"""A target whose timing is known exactly; stands by itself.

May import: nothing of ours.
"""
