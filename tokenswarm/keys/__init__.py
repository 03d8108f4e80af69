"""Keys and tokens that lie in Azure: Key Vault, Microsoft Entra.

May import: userinput, config.
"""
