"""Pure meaning: no clock, no randomness, no files, no Redis. Time and ids come in as arguments."""
