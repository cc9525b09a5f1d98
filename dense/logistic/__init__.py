"""Logistic regression on patches: the class of most of a patch's pixels from its features."""
