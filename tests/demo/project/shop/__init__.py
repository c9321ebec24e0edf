"""A shop: what a basket costs."""
