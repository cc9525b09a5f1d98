"""Frozen patch features: linear segmentation and depth, nearest patches, logistic regression."""
