"""A believable demo catalogue, the same at every call."""

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from service.models import Status

SEED = 20_261_123


class Range(NamedTuple):
    """What a category is made of: its products, and its prices in dollars from and to."""

    nouns: tuple[str, ...]
    cheapest: int
    dearest: int


CATEGORIES = {
    "Kitchen": Range(("Kettle", "Saucepan", "Chef's Knife", "Mixing Bowl", "Teapot"), 8, 180),
    "Garden": Range(("Watering Can", "Pruning Shears", "Planter", "Lantern", "Rake"), 6, 140),
    "Furniture": Range(("Armchair", "Bookcase", "Desk", "Side Table", "Stool"), 45, 1900),
    "Clothing": Range(("Jacket", "Pullover", "Scarf", "Rain Coat", "Cap"), 12, 320),
    "Shoes": Range(("Trainers", "Ankle Boots", "Sandals", "Loafers", "Slippers"), 20, 260),
    "Electronics": Range(("Headphones", "Desk Lamp", "Radio", "Loudspeaker", "Clock"), 15, 900),
    "Toys": Range(("Building Blocks", "Puzzle", "Kite", "Wooden Train", "Board Game"), 5, 90),
    "Stationery": Range(("Notebook", "Fountain Pen", "Pencil Case", "Diary", "Ruler"), 2, 75),
}
# The nouns whose picture in static/demo/ is not called as they are.
PICTURES = {
    "Teapot": "kettle",
    "Chef's Knife": "knife",
    "Mixing Bowl": "bowl",
    "Pruning Shears": "shears",
    "Rake": "shears",
    "Desk": "table",
    "Side Table": "table",
    "Rain Coat": "jacket",
    "Loafers": "trainers",
    "Ankle Boots": "boots",
    "Slippers": "sandals",
    "Desk Lamp": "lamp",
    "Loudspeaker": "radio",
    "Wooden Train": "train",
    "Building Blocks": "blocks",
    "Board Game": "blocks",
    "Diary": "notebook",
    "Fountain Pen": "pen",
}
MAKERS = ("Alder", "Brück", "Calla", "Dovetail", "Élan", "Fjord", "Grove", "Haven", "Iris", "Juno")
QUALITIES = ("Classic", "Compact", "Everyday", "Folding", "Heritage", "Light", "Sturdy", "Vintage")
COLOURS = ("amber", "black", "cream", "forest green", "grey", "navy", "red", "white")
ENDINGS = (".00", ".49", ".95", ".99")


def products(count: int) -> Iterator[dict[str, Any]]:
    """Yield ``count`` products as column values; a longer catalogue begins like a shorter one."""
    chance = random.Random(SEED)  # noqa: S311  # a demo is no secret
    names = list(CATEGORIES)
    for _ in range(count):
        category = chance.choice(names)
        kind = CATEGORIES[category]
        noun = chance.choice(kind.nouns)
        maker, quality = chance.choice(MAKERS), chance.choice(QUALITIES)
        colour = chance.choice(COLOURS)
        dollars = int(kind.cheapest * (kind.dearest / kind.cheapest) ** chance.random())
        description = f"{quality} {noun.lower()} in {colour}, made by {maker}."
        yield {
            "name": f"{maker} {quality} {noun}, {colour}",
            "img_url": f"/static/demo/{_picture(noun)}.svg",
            "description": chance.choices((description, None), (90, 10))[0],
            "price": Decimal(f"{dollars}{chance.choice(ENDINGS)}"),
            "rating": chance.choices(range(6), (30, 3, 5, 12, 28, 22))[0],
            "category": chance.choices((category, None), (97, 3))[0],
            "status": chance.choices(tuple(Status), (85, 4, 11))[0],
        }


def _picture(noun: str) -> str:
    return PICTURES.get(noun, noun.lower().replace(" ", "-"))
