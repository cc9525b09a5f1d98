"""Many trials from one file: what is missing, who runs it, where it stands."""
