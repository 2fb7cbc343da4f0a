"""Tables past one machine: their rows on Ray actors, with the bits of one table."""
