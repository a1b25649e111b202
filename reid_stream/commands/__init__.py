"""The commands of `reid-stream`, one module each; heavy imports happen when a command is called."""
