"""One file for each schema; its number is the ledger's schema version."""
