"""Tables of params and their accumulators: in memory, mapped, on disk."""
