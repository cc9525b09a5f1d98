"""Readers of the copies that torchvision and Hugging Face's `datasets` have made."""
