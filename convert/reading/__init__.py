"""What a file or folder with weights holds: every container, read without running any of it."""
