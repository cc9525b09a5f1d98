"""Images with a class for each pixel: where image and mask lie, and what the numbers in a mask mean."""
