"""Asking other servers over HTTP: in a limited time, with what authenticates us, and never by a redirect."""
