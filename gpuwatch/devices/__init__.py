"""Accelerators: one file per vendor, each a `DeviceSource` of `devices.base`."""
