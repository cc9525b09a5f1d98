"""What a detector is worth: its predictions, and the scores that each data set's rules give them."""
