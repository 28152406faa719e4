"""The features of the page: what staff do on it, and how a browser does it for them."""
