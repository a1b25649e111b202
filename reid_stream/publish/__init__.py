"""Events out: typed, versioned, on one Redis stream per site."""
