"""The ground under every room: processes, progress, stopping, precision, seeds, downloads."""
