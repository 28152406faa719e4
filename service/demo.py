"""The demo catalogue: random but reproducible products."""

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from service.models import Status

SEED = 20_261_123


class Category(NamedTuple):
    """The nouns and the price range, in dollars, of the products of a category."""

    nouns: tuple[str, ...]
    min_price: int
    max_price: int


CATEGORIES = {
    "Kitchen": Category(("Kettle", "Saucepan", "Chef's Knife", "Mixing Bowl", "Teapot"), 8, 180),
    "Garden": Category(("Watering Can", "Pruning Shears", "Planter", "Lantern", "Rake"), 6, 140),
    "Furniture": Category(("Armchair", "Bookcase", "Desk", "Side Table", "Stool"), 45, 1900),
    "Clothing": Category(("Jacket", "Pullover", "Scarf", "Rain Coat", "Cap"), 12, 320),
    "Shoes": Category(("Trainers", "Ankle Boots", "Sandals", "Loafers", "Slippers"), 20, 260),
    "Electronics": Category(("Headphones", "Desk Lamp", "Radio", "Loudspeaker", "Clock"), 15, 900),
    "Toys": Category(("Building Blocks", "Puzzle", "Kite", "Wooden Train", "Board Game"), 5, 90),
    "Stationery": Category(("Notebook", "Fountain Pen", "Pencil Case", "Diary", "Ruler"), 2, 75),
}
# The nouns whose picture in static/demo/ has another name.
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
    """Yield the column values of ``count`` products; the first ones are the same for any count."""
    chance = random.Random(SEED)  # noqa: S311  # not for cryptography
    return (_product(chance) for _ in range(count))


def _product(chance: random.Random) -> dict[str, Any]:
    category = chance.choice(list(CATEGORIES))
    nouns, min_price, max_price = CATEGORIES[category]
    noun = chance.choice(nouns)
    maker, quality = chance.choice(MAKERS), chance.choice(QUALITIES)
    colour = chance.choice(COLOURS)
    dollars = int(min_price * (max_price / min_price) ** chance.random())
    description = f"{quality} {noun.lower()} in {colour}, made by {maker}."
    return {
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
