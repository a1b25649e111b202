"""cameras in, frames out: one thread per camera, the newest frame wins at the door."""
