"""Barlow Twins pretraining: images in, a checkpoint with a ResNet-50 backbone out."""
