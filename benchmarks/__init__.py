"""The service beside its peers: the same database, the same load, one run."""
