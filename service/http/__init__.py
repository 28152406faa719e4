"""Features of HTTP, for any resource."""
