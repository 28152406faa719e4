"""What the record of changes tells: the feed, the history of products, and their lowest prices."""
