"""What the JSON of answers says, whichever API it is of: errors, token counts, messages.

May import: record.
"""
