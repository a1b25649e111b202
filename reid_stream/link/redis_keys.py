"""Keys of the link between hosts. All carry the hash tag `{site}`."""


def stream_key(site: str) -> str:
    """Return the key of the stream."""
    return f"reid:{{{site}}}:observations"


def epochs_key(site: str) -> str:
    """Return the key of the hash with the latest epoch of each camera."""
    return f"reid:{{{site}}}:cameras:epochs"


def taken_key(site: str) -> str:
    """Return the key of the hash with the epoch up to which the receiver has taken each camera's records."""
    return f"reid:{{{site}}}:cameras:taken"
