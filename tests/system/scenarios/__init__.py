"""What real programs do in network namespaces, and how it is seen. A package, so that its fixtures end with it."""
