"""What was held and used, for ever: the store, the arithmetic of posting, and the queries."""
