"""The rules: every benchmark and pretraining recipe as frozen, versioned, fingerprinted data."""
