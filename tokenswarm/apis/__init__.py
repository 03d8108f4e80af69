"""APIs that can be asked, one pure file each: how a request is encoded, how its answer is read, what that comes to.

May import: record, payload.
"""
