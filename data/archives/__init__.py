"""Readers of tar archives, WebDataset's shards and zip, where they lie."""
