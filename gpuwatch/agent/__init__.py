"""The daemon on each node: read, meter, publish."""
