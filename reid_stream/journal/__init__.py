"""What identify was told, kept so that another process can go on: a log of its inputs, and now and then its state."""
