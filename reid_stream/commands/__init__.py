"""What `reid-stream` can be told to do: one file a command, imported when it is called."""
