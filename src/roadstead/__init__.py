"""roadstead: the private container registry that is complete on its own."""
