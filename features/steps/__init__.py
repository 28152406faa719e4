"""The sentences of the scenarios."""
