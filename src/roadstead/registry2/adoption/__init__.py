"""A folder of registry:2 taken up, given back, followed, and used to make a lost catalogue anew."""
