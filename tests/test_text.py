"""Texts: which of them a search takes for the same, and which are visible; alike everywhere."""

import re
import sys
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, literal, select
from sqlalchemy.exc import IntegrityError

from service.database import db, transaction
from service.database.text import (
    UNASSIGNED_BASIC,
    UNASSIGNED_SUPPLEMENTARY,
    is_visible,
    search_key,
)
from service.models import NAME_LENGTH, products
from tests.factories import product_body, product_row

CHARACTERS = [chr(point) for point in range(1, sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]


def characters(ranges: str) -> Iterator[str]:
    for each in ranges.split():
        first, _, last = each.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


UNASSIGNED = {*characters(UNASSIGNED_BASIC), *characters(UNASSIGNED_SUPPLEMENTARY)}
ASSIGNED = [character for character in CHARACTERS if character not in UNASSIGNED]
# Of Telugu, Thai, Lao and Tibetan: what a search tells apart although Unicode orders it as marks.
VOWELS = {*characters("C55-C56 E38-E39 EB8-EB9 F71-F72 F74 F7A-F7D F80")}
SPELLINGS = [
    ("GROẞE TASSE", "große tasse", "GROSSE TASSE"),
    ("istanbul", "İSTANBUL", "ıstanbul", "ISTANBUL", "i̇stanbul"),
    ("IŞIK", "ışık", "isik"),
    ("Café", "CAFE\u0301", "cafe"),
    ("Château", "chateau"),
    ("Ångström", "\u212bngstro\u0308m", "angstrom"),
    ("чайник", "ЧАИ\u0306НИК", "чаиник"),
    ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
    ("ΟΔΟΣ", "οδος", "ὁδός", "οδοσ"),
    ("ᾳδης", "ᾼΔΗΣ", "αδης"),
    ("ﬁlm", "FILM"),
    ("ＫＥＴＴＬＥ", "kettle"),
    ("ｶﾞｽ", "ガス", "カ\u3099ス"),
    ("Œuvre", "OEUVRE"),
    ("Smørrebrød Æ", "smorrebrod ae"),
    ("Łódź", "lodz"),
    ("Đorđe Ð", "dorde d"),
    ("Þór", "thor"),
    ("Ꭰꮿ", "ꭰᏯ"),
    ("Levi’s", "Levi's", "levi‘s", "Levi´s", "Leviʼs", "Levi\u1ffds"),
    ("T-shirt", "T‑shirt", "T–Shirt", "T—shirt", "T−shirt"),
    ('24"', "24”", "24″"),
    ("½ l", "1/2 L"),
    ("Zauberstab", "Zauber\u00adstab", "Zau\u200bber\u2060stab", "\ufeffZauberstab\u200e"),
    ("می‌خواهم", "میخواهم"),
    ("red  tea", "red\u00a0tea", "\u2003red\t \ntea ", "RED\u2028TEA", "red\u3000\u200btea"),
    ("a\U0001fae8é", "A\U0001fae8E"),
]
DIFFERENT = [
    ("100% wool", "100 wool"),
    ("a_b", "aXb"),
    ("red tea", "redtea"),
    ("it's", "its"),
    ("ลูก", "ลก"),
    ("कर्म", "करम"),
    ("タイ", "たい"),
    ("x\U0001fae8", "x\U0001fae9"),
]


def find(client: FlaskClient, **parameters: str) -> set[str]:
    found = client.get("/products", query_string=parameters)
    assert found.status_code == 200, found.text
    return {product["name"] for product in found.get_json()}


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda spellings: ascii(spellings[0]))
def test_all_spellings_of_a_text_find_each_other(
    client: FlaskClient, spellings: tuple[str, ...]
) -> None:
    for name in spellings:
        client.post("/products", json=product_body(name=f"x{name}x", category="x"))
        client.post("/products", json=product_body(name=name, category=name))

    for asked in spellings:
        assert find(client, category=asked) == set(spellings)
        for parameter in ("q", "name"):
            found = find(client, **{parameter: asked})
            assert found == {*spellings, *(f"x{name}x" for name in spellings)}


@pytest.mark.parametrize("pair", DIFFERENT, ids=ascii)
def test_texts_that_differ_do_not_find_each_other(
    client: FlaskClient, pair: tuple[str, str]
) -> None:
    for name in pair:
        client.post("/products", json=product_body(name=name, description=None, category=name))

    for asked in pair:
        assert find(client, name=asked) == find(client, category=asked) == {asked}


@pytest.mark.parametrize("wide", ["％", "＿", "＼"])
def test_wide_forms_of_special_characters_are_ordinary_too(client: FlaskClient, wide: str) -> None:
    for name in (f"a{wide}b", "aXb"):
        client.post("/products", json=product_body(name=name, description=None))

    assert find(client, q=f"a{wide}b") == find(client, name=f"a{wide}b") == {f"a{wide}b"}


def test_what_is_stored_stays_as_it_was_sent(client: FlaskClient) -> None:
    body = product_body(name="Cafe\u0301  ﬁ\u200b", category="ＫＥＴＴＬＥ ")

    assert client.post("/products", json=body).get_json().items() >= body.items()


def database_key(app: Flask, text: str) -> str:
    with app.app_context(), db.engine.connect() as connection:
        key: str = connection.execute(select(func.search_key(literal(text)))).scalar_one()
        return key


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """Give the keys of texts that have every character; each assigned one has its own part."""
    parted = ["|".join(ASSIGNED[start : start + 1024]) for start in range(0, len(ASSIGNED), 1024)]
    unassigned = "".join(sorted(UNASSIGNED))
    return {text: search_key(text) for text in (*parted, unassigned)}


def test_both_databases_have_the_same_key_for_every_character(
    app: Flask, keys: dict[str, str]
) -> None:
    for text, key in keys.items():
        assert database_key(app, text).split("|") == key.split("|")


def test_a_key_is_its_own_key(keys: dict[str, str]) -> None:
    for key in keys.values():
        assert search_key(key) == key


def test_what_is_unassigned_is_what_unicode_14_says() -> None:
    unassigned = {each for each in CHARACTERS if unicodedata.category(each) == "Cn"}

    assert unassigned <= UNASSIGNED
    if unicodedata.unidata_version == "14.0.0":
        assert unassigned == UNASSIGNED


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_composed_and_decomposed_forms_of_every_character_have_one_key(
    form: Literal["NFC", "NFD"],
) -> None:
    for character in ASSIGNED:
        if (other := unicodedata.normalize(form, character)) != character:
            assert search_key(other) == search_key(character)


def test_all_cases_of_every_letter_have_one_key() -> None:
    for letter in ASSIGNED:
        for case in {letter.lower(), letter.upper(), letter.casefold()} - {letter}:
            # An iota below a letter is a mark, which is a letter of its own in upper case.
            if "\u0345" not in unicodedata.normalize("NFD", letter):
                assert search_key(case) == search_key(letter)


def test_marks_and_what_is_invisible_have_no_key() -> None:
    for character in ASSIGNED:
        is_mark = unicodedata.combining(character) not in {0, 9} and character not in VOWELS
        if is_mark or character.isspace() or unicodedata.category(character) in {"Cc", "Cf", "Me"}:
            assert search_key(character) == ""


def test_other_letters_and_digits_have_a_key() -> None:
    for character in ASSIGNED:
        name = unicodedata.name(character, "")
        is_mark = re.search("MARK|FILLER|YPOGEGRAMMENI|^ARABIC .* ISOLATED FORM", name)
        if unicodedata.category(character)[0] in "LN" and not is_mark:
            assert search_key(character) != ""


def test_a_dash_has_the_key_of_a_hyphen() -> None:
    for character in ASSIGNED:
        if unicodedata.category(character) == "Pd" and character != "\u301c":
            assert search_key(character) == "-"


def test_a_latin_letter_with_an_addition_has_the_key_of_the_letter() -> None:
    for character in ASSIGNED:
        name = unicodedata.name(character, "")
        letter = re.fullmatch("LATIN (?:SMALL|CAPITAL) LETTER ([A-Z])(?: WITH .*)?", name)
        if letter and name != "LATIN CAPITAL LETTER O WITH MIDDLE TILDE":  # of a barred o
            assert search_key(character)[0] == letter[1].lower()


# Few examples would have those that matter by chance.
oddities = st.sampled_from(
    sorted({letter for texts in SPELLINGS for text in texts for letter in text})
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | oddities)


@given(text=texts)
def test_both_databases_have_the_same_key_for_any_text(postgresql_app: Flask, text: str) -> None:
    key = search_key(text)

    assert database_key(postgresql_app, text) == key
    assert search_key(key) == key


@given(before=texts, part=texts, after=texts)
def test_the_key_of_a_part_is_a_part_of_the_key(before: str, part: str, after: str) -> None:
    assert search_key(part) in search_key(before + part + after)


@pytest.fixture(scope="module")
def visible() -> set[str]:
    return set(filter(is_visible, CHARACTERS))


def test_a_character_is_visible_unless_it_is_blank_a_control_or_unassigned(
    visible: set[str],
) -> None:
    controls = {each for each in ASSIGNED if unicodedata.category(each) in {"Cc", "Cf"}}
    blanks = set(filter(str.isspace, CHARACTERS))

    assert visible == {*CHARACTERS} - UNASSIGNED - controls - blanks


@pytest.fixture(scope="module")
def edges(visible: set[str]) -> dict[bool, list[str]]:
    """Give the visible characters that have an invisible neighbour, and the other way round."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for pair in pairwise(CHARACTERS):
        if (pair[0] in visible) != (pair[1] in visible):
            for each in pair:
                found[each in visible].add(each)
    return {seen: sorted(characters) for seen, characters in found.items()}


def test_the_tables_take_every_visible_character_for_a_text(
    app: Flask, edges: dict[bool, list[str]]
) -> None:
    rows = [product_row(name=f" {each}\u200b", img_url=each) for each in edges[True]]

    with app.app_context(), transaction() as connection:
        connection.execute(insert(products), rows)
        stored = connection.execute(select(products.c.img_url).order_by(products.c.id)).scalars()
        assert stored.all() == edges[True]


@pytest.mark.parametrize("column", ["name", "img_url"])
def test_the_tables_refuse_texts_of_nothing_but_invisible_characters(
    app: Flask, edges: dict[bool, list[str]], column: str
) -> None:
    for start in range(0, len(edges[False]), NAME_LENGTH):
        invisible = "".join(edges[False][start : start + NAME_LENGTH])
        with (
            app.app_context(),
            pytest.raises(IntegrityError, match=f"ck_products_{column}_visible"),
            transaction() as connection,
        ):
            connection.execute(insert(products), product_row(**{column: invisible}))


def test_the_published_pattern_is_the_rule(
    client: FlaskClient, edges: dict[bool, list[str]]
) -> None:
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    pattern = schemas["VisibleText"]["pattern"]
    is_valid = jsonschema_rs.validator_for(schemas["VisibleText"]).is_valid

    for seen in (True, False):
        for each in edges[seen]:
            for text in (each, f"\u2060{each} ", f"{each}\u00a0\n"):
                assert bool(re.search(pattern, text)) is is_valid(text) is seen
    assert not is_valid("a\0")
    assert {"$ref": "#/components/schemas/VisibleText"} in (
        schemas["ProductBody"]["properties"]["name"]["allOf"]
    )


@pytest.mark.parametrize("member", ["name", "img_url"])
@pytest.mark.parametrize(
    "value", ["\u200b", "\u2060\ufeff", " \u00ad", "\x01", "\u0378", "\U000e0041"]
)
def test_a_member_without_a_visible_character_is_refused(
    client: FlaskClient, member: str, value: str
) -> None:
    response = client.post("/products", json=product_body(**{member: value}))

    assert response.status_code == 400
    assert response.get_json()["errors"] == [
        {"pointer": f"/{member}", "detail": "must have a visible character"}
    ]
