"""The networks that weights are of: which tensors they have, how they are built, which features they offer."""
