"""Readers of lists: text and tables with labels, and COCO's JSON as labels."""
