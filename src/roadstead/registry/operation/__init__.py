"""The registry as a thing that is run: its maintenance modes, its recovery after a crash, who owns its bytes."""
