"""People who walk through cameras, with known truth and the vectors of real crops: settings in, observations out."""
