"""Nearest patches: a bank of training patches, exact search, and the labels of what is found."""
