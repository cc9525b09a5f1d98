"""Semantic segmentation, a class a pixel: FCN on a dilated ResNet-50, trained by the same trainer as the detectors.

Importing it makes its network known to Detectron2 (`build_model`) and its keys to configurations (`with_keys`).
"""
