"""Who holds which device on this node: one file per way of starting work, each a `JobSource` of `jobs.base`."""
