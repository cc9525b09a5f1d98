"""Linear depth of a frozen backbone."""
