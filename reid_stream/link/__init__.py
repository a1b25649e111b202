"""Links that carry observations from perception to identification; the records are the same on all of them."""
