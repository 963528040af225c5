"""What batch systems allocated, cluster-wide: one file per system, each a `Scheduler` of `schedulers.base`."""
