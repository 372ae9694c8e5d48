"""The process that somebody else's kernel runs in, and the other end of it."""
