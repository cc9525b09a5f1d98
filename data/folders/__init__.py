"""Readers of folders: ImageNet's layout, VOC, COCO, iNaturalist, Places205, and a pool of images without labels."""
