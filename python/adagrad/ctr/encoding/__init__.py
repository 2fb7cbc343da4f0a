"""From the columns of a log to examples: slots of a hashed table and their values."""
