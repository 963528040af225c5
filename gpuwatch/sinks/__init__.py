"""Where snapshots go: one file per destination, each a `Sink` of `sinks.base`."""
