"""Where a scope will end; pure."""
