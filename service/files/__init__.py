"""CSV and JSON Lines files of products: their export, and their import with a plan."""

CSV = "text/csv"
JSON_LINES = "application/jsonl"

COLUMNS = ("id", "name", "img_url", "description", "price", "rating", "category", "status")
TEXTS = ("name", "img_url", "description", "category")
ETAG = "etag"

# A spreadsheet would take such a text for a formula, strip it, or take an empty one for null.
# One apostrophe in front of it prevents that; an import takes it away.
APOSTROPHE = "'"
NEEDS_APOSTROPHE = ("=", "+", "-", "@", APOSTROPHE, "\t", "\r", "\n")
