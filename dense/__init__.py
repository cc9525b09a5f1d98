"""Frozen patch features: linear segmentation, nearest patches."""
