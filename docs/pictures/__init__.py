"""The pictures of the documentation, each made by a module here: `make pictures`."""
