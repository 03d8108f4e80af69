"""What is asked and when: arrivals, stages, thread groups, traces, datasets, prompts. Pure.

May import: userinput.
"""
