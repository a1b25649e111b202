"""Speed and memory, each beside the floor measured in the same run."""
