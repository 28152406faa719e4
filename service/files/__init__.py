"""CSV and JSON Lines files of products: their export, and their import with a plan."""

CSV = "text/csv"
JSON_LINES = "application/jsonl"

COLUMNS = ("id", "name", "img_url", "description", "price", "rating", "category", "status")
TEXTS = ("name", "img_url", "description", "category")
ETAG = "etag"

# A text that begins so is exported with an apostrophe in front, and so is an empty one: a
# spreadsheet would calculate or strip it, and null is an empty cell. An import removes it.
APOSTROPHE = "'"
NEEDS_APOSTROPHE = ("=", "+", "-", "@", APOSTROPHE, "\t", "\r", "\n")
