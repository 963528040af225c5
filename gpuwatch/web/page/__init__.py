"""The page of accounting at /ui/: tables that the server writes, and a little script that makes them lively."""
