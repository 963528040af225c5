"""The node itself: one file per subsystem, each a `HostSource` of `host.base`."""
