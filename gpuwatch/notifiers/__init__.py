"""Channels for alerts: one file per channel, each a `Notifier` of `notifiers.base`."""
