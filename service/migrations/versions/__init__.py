"""The revisions of the schema; a released revision is never edited."""
