"""Tests of the client module."""
