"""StarCraft II itself as a backend: oxwhirl's clients, one worker process per battle."""
