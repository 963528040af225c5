"""Where accounting reads usage: one file per kind of store, each a `UsageSource` of `usage.base`."""
