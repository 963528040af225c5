"""One HTTP stack for both daemons."""
