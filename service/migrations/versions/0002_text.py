"""Compare text by its search key; refuse names and picture addresses without a visible character.

On PostgreSQL no step blocks writers for more than a moment. The steps are committed one by one: if
one fails, the next upgrade repeats all of them. What revision 0001 made for searches stays for a
rollout: the function ``fold`` and its indexes.

The upgrade changes nothing if there are rows without a visible character. It names them, so that
the owner can correct them: no text can be invented for them, and no row may be lost.
"""

import json
from collections.abc import Callable, Iterator
from unicodedata import normalize

import click
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Frozen copies of the definitions in service/database/text.py.
UNASSIGNED_BASIC = (
    "378-379 380-383 38B 38D 3A2 530 557-558 58B-58C 590 5C8-5CF 5EB-5EE 5F5-5FF 70E 74B-74C "
    "7B2-7BF 7FB-7FC 82E-82F 83F 85C-85D 85F 86B-86F 88F 892-897 984 98D-98E 991-992 9A9 9B1 "
    "9B3-9B5 9BA-9BB 9C5-9C6 9C9-9CA 9CF-9D6 9D8-9DB 9DE 9E4-9E5 9FF-A00 A04 A0B-A0E A11-A12 A29 "
    "A31 A34 A37 A3A-A3B A3D A43-A46 A49-A4A A4E-A50 A52-A58 A5D A5F-A65 A77-A80 A84 A8E A92 AA9 "
    "AB1 AB4 ABA-ABB AC6 ACA ACE-ACF AD1-ADF AE4-AE5 AF2-AF8 B00 B04 B0D-B0E B11-B12 B29 B31 B34 "
    "B3A-B3B B45-B46 B49-B4A B4E-B54 B58-B5B B5E B64-B65 B78-B81 B84 B8B-B8D B91 B96-B98 B9B B9D "
    "BA0-BA2 BA5-BA7 BAB-BAD BBA-BBD BC3-BC5 BC9 BCE-BCF BD1-BD6 BD8-BE5 BFB-BFF C0D C11 C29 "
    "C3A-C3B C45 C49 C4E-C54 C57 C5B-C5C C5E-C5F C64-C65 C70-C76 C8D C91 CA9 CB4 CBA-CBB CC5 CC9 "
    "CCE-CD4 CD7-CDC CDF CE4-CE5 CF0 CF3-CFF D0D D11 D45 D49 D50-D53 D64-D65 D80 D84 D97-D99 DB2 "
    "DBC DBE-DBF DC7-DC9 DCB-DCE DD5 DD7 DE0-DE5 DF0-DF1 DF5-E00 E3B-E3E E5C-E80 E83 E85 E8B EA4 "
    "EA6 EBE-EBF EC5 EC7 ECE-ECF EDA-EDB EE0-EFF F48 F6D-F70 F98 FBD FCD FDB-FFF 10C6 10C8-10CC "
    "10CE-10CF 1249 124E-124F 1257 1259 125E-125F 1289 128E-128F 12B1 12B6-12B7 12BF 12C1 "
    "12C6-12C7 12D7 1311 1316-1317 135B-135C 137D-137F 139A-139F 13F6-13F7 13FE-13FF 169D-169F "
    "16F9-16FF 1716-171E 1737-173F 1754-175F 176D 1771 1774-177F 17DE-17DF 17EA-17EF 17FA-17FF "
    "181A-181F 1879-187F 18AB-18AF 18F6-18FF 191F 192C-192F 193C-193F 1941-1943 196E-196F "
    "1975-197F 19AC-19AF 19CA-19CF 19DB-19DD 1A1C-1A1D 1A5F 1A7D-1A7E 1A8A-1A8F 1A9A-1A9F "
    "1AAE-1AAF 1ACF-1AFF 1B4D-1B4F 1B7F 1BF4-1BFB 1C38-1C3A 1C4A-1C4C 1C89-1C8F 1CBB-1CBC "
    "1CC8-1CCF 1CFB-1CFF 1F16-1F17 1F1E-1F1F 1F46-1F47 1F4E-1F4F 1F58 1F5A 1F5C 1F5E 1F7E-1F7F "
    "1FB5 1FC5 1FD4-1FD5 1FDC 1FF0-1FF1 1FF5 1FFF 2065 2072-2073 208F 209D-209F 20C1-20CF "
    "20F1-20FF 218C-218F 2427-243F 244B-245F 2B74-2B75 2B96 2CF4-2CF8 2D26 2D28-2D2C 2D2E-2D2F "
    "2D68-2D6E 2D71-2D7E 2D97-2D9F 2DA7 2DAF 2DB7 2DBF 2DC7 2DCF 2DD7 2DDF 2E5E-2E7F 2E9A "
    "2EF4-2EFF 2FD6-2FEF 2FFC-2FFF 3040 3097-3098 3100-3104 3130 318F 31E4-31EF 321F A48D-A48F "
    "A4C7-A4CF A62C-A63F A6F8-A6FF A7CB-A7CF A7D2 A7D4 A7DA-A7F1 A82D-A82F A83A-A83F A878-A87F "
    "A8C6-A8CD A8DA-A8DF A954-A95E A97D-A97F A9CE A9DA-A9DD A9FF AA37-AA3F AA4E-AA4F AA5A-AA5B "
    "AAC3-AADA AAF7-AB00 AB07-AB08 AB0F-AB10 AB17-AB1F AB27 AB2F AB6C-AB6F ABEE-ABEF ABFA-ABFF "
    "D7A4-D7AF D7C7-D7CA D7FC-D7FF FA6E-FA6F FADA-FAFF FB07-FB12 FB18-FB1C FB37 FB3D FB3F FB42 "
    "FB45 FBC3-FBD2 FD90-FD91 FDC8-FDCE FDD0-FDEF FE1A-FE1F FE53 FE67 FE6C-FE6F FE75 FEFD-FEFE "
    "FF00 FFBF-FFC1 FFC8-FFC9 FFD0-FFD1 FFD8-FFD9 FFDD-FFDF FFE7 FFEF-FFF8 FFFE-FFFF"
)
UNASSIGNED_SUPPLEMENTARY = (
    "1000C 10027 1003B 1003E 1004E-1004F 1005E-1007F 100FB-100FF 10103-10106 10134-10136 1018F "
    "1019D-1019F 101A1-101CF 101FE-1027F 1029D-1029F 102D1-102DF 102FC-102FF 10324-1032C "
    "1034B-1034F 1037B-1037F 1039E 103C4-103C7 103D6-103FF 1049E-1049F 104AA-104AF 104D4-104D7 "
    "104FC-104FF 10528-1052F 10564-1056E 1057B 1058B 10593 10596 105A2 105B2 105BA 105BD-105FF "
    "10737-1073F 10756-1075F 10768-1077F 10786 107B1 107BB-107FF 10806-10807 10809 10836 "
    "10839-1083B 1083D-1083E 10856 1089F-108A6 108B0-108DF 108F3 108F6-108FA 1091C-1091E "
    "1093A-1093E 10940-1097F 109B8-109BB 109D0-109D1 10A04 10A07-10A0B 10A14 10A18 10A36-10A37 "
    "10A3B-10A3E 10A49-10A4F 10A59-10A5F 10AA0-10ABF 10AE7-10AEA 10AF7-10AFF 10B36-10B38 "
    "10B56-10B57 10B73-10B77 10B92-10B98 10B9D-10BA8 10BB0-10BFF 10C49-10C7F 10CB3-10CBF "
    "10CF3-10CF9 10D28-10D2F 10D3A-10E5F 10E7F 10EAA 10EAE-10EAF 10EB2-10EFF 10F28-10F2F "
    "10F5A-10F6F 10F8A-10FAF 10FCC-10FDF 10FF7-10FFF 1104E-11051 11076-1107E 110C3-110CC "
    "110CE-110CF 110E9-110EF 110FA-110FF 11135 11148-1114F 11177-1117F 111E0 111F5-111FF 11212 "
    "1123F-1127F 11287 11289 1128E 1129E 112AA-112AF 112EB-112EF 112FA-112FF 11304 1130D-1130E "
    "11311-11312 11329 11331 11334 1133A 11345-11346 11349-1134A 1134E-1134F 11351-11356 "
    "11358-1135C 11364-11365 1136D-1136F 11375-113FF 1145C 11462-1147F 114C8-114CF 114DA-1157F "
    "115B6-115B7 115DE-115FF 11645-1164F 1165A-1165F 1166D-1167F 116BA-116BF 116CA-116FF "
    "1171B-1171C 1172C-1172F 11747-117FF 1183C-1189F 118F3-118FE 11907-11908 1190A-1190B 11914 "
    "11917 11936 11939-1193A 11947-1194F 1195A-1199F 119A8-119A9 119D8-119D9 119E5-119FF "
    "11A48-11A4F 11AA3-11AAF 11AF9-11BFF 11C09 11C37 11C46-11C4F 11C6D-11C6F 11C90-11C91 11CA8 "
    "11CB7-11CFF 11D07 11D0A 11D37-11D39 11D3B 11D3E 11D48-11D4F 11D5A-11D5F 11D66 11D69 11D8F "
    "11D92 11D99-11D9F 11DAA-11EDF 11EF9-11FAF 11FB1-11FBF 11FF2-11FFE 1239A-123FF 1246F "
    "12475-1247F 12544-12F8F 12FF3-12FFF 1342F 13439-143FF 14647-167FF 16A39-16A3F 16A5F "
    "16A6A-16A6D 16ABF 16ACA-16ACF 16AEE-16AEF 16AF6-16AFF 16B46-16B4F 16B5A 16B62 16B78-16B7C "
    "16B90-16E3F 16E9B-16EFF 16F4B-16F4E 16F88-16F8E 16FA0-16FDF 16FE5-16FEF 16FF2-16FFF "
    "187F8-187FF 18CD6-18CFF 18D09-1AFEF 1AFF4 1AFFC 1AFFF 1B123-1B14F 1B153-1B163 1B168-1B16F "
    "1B2FC-1BBFF 1BC6B-1BC6F 1BC7D-1BC7F 1BC89-1BC8F 1BC9A-1BC9B 1BCA4-1CEFF 1CF2E-1CF2F "
    "1CF47-1CF4F 1CFC4-1CFFF 1D0F6-1D0FF 1D127-1D128 1D1EB-1D1FF 1D246-1D2DF 1D2F4-1D2FF "
    "1D357-1D35F 1D379-1D3FF 1D455 1D49D 1D4A0-1D4A1 1D4A3-1D4A4 1D4A7-1D4A8 1D4AD 1D4BA 1D4BC "
    "1D4C4 1D506 1D50B-1D50C 1D515 1D51D 1D53A 1D53F 1D545 1D547-1D549 1D551 1D6A6-1D6A7 "
    "1D7CC-1D7CD 1DA8C-1DA9A 1DAA0 1DAB0-1DEFF 1DF1F-1DFFF 1E007 1E019-1E01A 1E022 1E025 "
    "1E02B-1E0FF 1E12D-1E12F 1E13E-1E13F 1E14A-1E14D 1E150-1E28F 1E2AF-1E2BF 1E2FA-1E2FE "
    "1E300-1E7DF 1E7E7 1E7EC 1E7EF 1E7FF 1E8C5-1E8C6 1E8D7-1E8FF 1E94C-1E94F 1E95A-1E95D "
    "1E960-1EC70 1ECB5-1ED00 1ED3E-1EDFF 1EE04 1EE20 1EE23 1EE25-1EE26 1EE28 1EE33 1EE38 1EE3A "
    "1EE3C-1EE41 1EE43-1EE46 1EE48 1EE4A 1EE4C 1EE50 1EE53 1EE55-1EE56 1EE58 1EE5A 1EE5C 1EE5E "
    "1EE60 1EE63 1EE65-1EE66 1EE6B 1EE73 1EE78 1EE7D 1EE7F 1EE8A 1EE9C-1EEA0 1EEA4 1EEAA "
    "1EEBC-1EEEF 1EEF2-1EFFF 1F02C-1F02F 1F094-1F09F 1F0AF-1F0B0 1F0C0 1F0D0 1F0F6-1F0FF "
    "1F1AE-1F1E5 1F203-1F20F 1F23C-1F23F 1F249-1F24F 1F252-1F25F 1F266-1F2FF 1F6D8-1F6DC "
    "1F6ED-1F6EF 1F6FD-1F6FF 1F774-1F77F 1F7D9-1F7DF 1F7EC-1F7EF 1F7F1-1F7FF 1F80C-1F80F "
    "1F848-1F84F 1F85A-1F85F 1F888-1F88F 1F8AE-1F8AF 1F8B2-1F8FF 1FA54-1FA5F 1FA6E-1FA6F "
    "1FA75-1FA77 1FA7D-1FA7F 1FA87-1FA8F 1FAAD-1FAAF 1FABB-1FABF 1FAC6-1FACF 1FADA-1FADF "
    "1FAE8-1FAEF 1FAF7-1FAFF 1FB93 1FBCB-1FBEF 1FBFA-1FFFF 2A6E0-2A6FF 2B739-2B73F 2B81E-2B81F "
    "2CEA2-2CEAF 2EBE1-2F7FF 2FA1E-2FFFF 3134B-E0000 E0002-E001F E0080-E00FF E01F0-EFFFF "
    "FFFFE-FFFFF 10FFFE-10FFFF"
)
SPACES_AND_CONTROLS = (
    "1-20 7F-A0 AD 600-605 61C 6DD 70F 890-891 8E2 1680 180E 2000-200F 2028-202F 205F-2064 "
    "2066-206F 3000 FEFF FFF9-FFFB 110BD 110CD 13430-13438 1BCA0-1BCA3 1D173-1D17A E0001 "
    "E0020-E007F"
)
REMOVED = (
    "1-8 E-1B 7F-84 86-9F AD 300-36F 483-489 591-5BD 5BF 5C1-5C2 5C4-5C5 5C7 600-605 610-61A 61C "
    "64B-65F 670 6D6-6DD 6DF-6E4 6E7-6E8 6EA-6ED 70F 711 730-74A 7EB-7F3 7FD 816-819 81B-823 "
    "825-827 829-82D 859-85B 890-891 898-89F 8CA-8FF 93C 951-954 9BC 9FE A3C ABC B3C C3C CBC "
    "E48-E4B EC8-ECB F18-F19 F35 F37 F39 F82-F83 F86-F87 FC6 1037 108D 115F-1160 135D-135F "
    "17B4-17B5 17DD 180B-180F 18A9 1939-193B 1A17-1A18 1A75-1A7C 1A7F 1AB0-1ACE 1B34 1B6B-1B73 "
    "1BE6 1C37 1CD0-1CD2 1CD4-1CE0 1CE2-1CE8 1CED 1CF4 1CF8-1CF9 1DC0-1DFF 200B-200F 202A-202E "
    "2060-2064 2066-206F 20D0-20F0 2CEF-2CF1 2DE0-2DFF 302A-302F 3099-309A 3164 A66F-A672 "
    "A674-A67D A69E-A69F A6F0-A6F1 A8E0-A8F1 A92B-A92D A9B3 AAB0 AAB2-AAB4 AAB7-AAB8 AABE-AABF "
    "AAC1 FB1E FE00-FE0F FE20-FE2F FEFF FFA0 FFF9-FFFB 101FD 102E0 10376-1037A 10A0D 10A0F "
    "10A38-10A3A 10AE5-10AE6 10D24-10D27 10EAB-10EAC 10F46-10F50 10F82-10F85 110BA 110BD 110CD "
    "11100-11102 11173 111CA 11236 112E9 1133B-1133C 11366-1136C 11370-11374 11446 1145E 114C3 "
    "115C0 116B7 1183A 11943 11D42 13430-13438 16AF0-16AF4 16B30-16B36 16FF0-16FF1 1BC9E "
    "1BCA0-1BCA3 1D165-1D169 1D16D-1D182 1D185-1D18B 1D1AA-1D1AD 1D242-1D244 1E000-1E006 "
    "1E008-1E018 1E01B-1E021 1E023-1E024 1E026-1E02A 1E130-1E136 1E2AE 1E2EC-1E2EF 1E8D0-1E8D6 "
    "1E944-1E94A E0001 E0020-E007F E0100-E01EF"
)
SPELLINGS = {
    "a": "ᶏⱥ",
    "b": "ƀƃɓᵬᶀꞗ",
    "c": "ƈȼɕꞓꞔ𝼝",
    "d": "ðđƌȡɖɗᵭᶁᶑꟈ",
    "e": "ɇᶒⱸꬴ",
    "f": "ƒᵮᶂꞙ",
    "g": "ǥɠᶃꞡ",
    "h": "ħɦⱨꞕ",
    "i": "ıɨᶖ𝼚",
    "j": "ȷɉɟʄʝ",
    "k": "ƙᶄⱪꝁꝃꝅꞣ",
    "l": "łƚȴɫɬɭᶅⱡꝉꞎꬷꬸꬹ𝼑𝼓",
    "m": "ɱᵯᶆꬺ",
    "n": "ŋƞȵɲɳᵰᶇꞑꞥꬻ",
    "o": "øⱺꝋꝍ𝼛",
    "p": "ƥᵱᵽᶈꝑꝓꝕ",
    "q": "ĸɋʠꝗꝙ",
    "r": "ɍɼɽɾᵲᵳᶉꞧꭉ𝼖",
    "s": "ȿʂᵴᶊꞩꟊ𝼞",
    "t": "ŧƫƭȶʈᵵⱦ𝼉",
    "u": "ᶙꞹꭎꭒ",
    "v": "ʋᶌⱱⱴꝟ",
    "w": "ⱳ",
    "x": "ᶍꭖꭗꭘꭙ",
    "y": "ƴɏỿꭚ",
    "z": "ƶȥɀʐʑᵶᶎⱬ",
    "ae": "æ",
    "oe": "œ",
    "th": "þ",
    "'": "\u02b9\u02bb\u02bc\u02bd\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2035",
    '"': "\u02ba\u02ee\u05f4\u201c\u201d\u201e\u201f\u301d\u301e\u301f",
    "-": (
        "\u058a\u05be\u1400\u1806\u2010\u2012\u2013\u2014\u2015\u2043\u2212\u2e17\u2e1a"
        "\u2e3a\u2e3b\u2e40\u2e5d\u3030\u30a0\U00010ead"
    ),
    "/": "\u2044\u2215",
    "~": "\u301c",
}
UNASSIGNED = f"{UNASSIGNED_BASIC} {UNASSIGNED_SUPPLEMENTARY}"
INVISIBLE = f"{SPACES_AND_CONTROLS} {UNASSIGNED}"
WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

# Each test is fast, and spares most texts the slow steps. Only the characters of Unicode 14 are
# decomposed, because versions of PostgreSQL know different characters. The loop replaces one letter
# at a time, in the whole text: translate() with all of them takes 300 times as long.
SEARCH_KEY = """\
CREATE OR REPLACE FUNCTION search_key(text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $search_key$
DECLARE
    key text COLLATE "C" = $1;
    letter text;
BEGIN
    IF key ~ '^[!-~]+( [!-~]+)*$' THEN
        RETURN lower(key);
    END IF;
    IF key ~ E'[\\u00b4\\u1ffd\\u2033]' THEN
        key = translate(key, E'\\u00b4\\u1ffd\\u2033', '''''"');
    END IF;
    IF key !~ E'[{unassigned}]' THEN
        key = normalize(key, NFKD);
    ELSE
        SELECT string_agg(coalesce(normalize(part[1], NFKD), part[2]), '' ORDER BY place) INTO key
        FROM regexp_matches(key, E'([^{unassigned}]+)|([{unassigned}]+)', 'g')
            WITH ORDINALITY AS parts (part, place);
    END IF;
    key = regexp_replace(key, E'[{removed}]+', '', 'g');
    IF key ~ '^[!-~]+( [!-~]+)*$' THEN
        RETURN lower(key);
    END IF;
    LOOP
        letter = substring(key FROM E'[{letters}]');
        EXIT WHEN letter IS NULL;
        key = replace(key, letter, '{spellings}'::jsonb ->> letter);
    END LOOP;
    key = regexp_replace(key, E'[ {spaces}]{{2,}}|[{spaces}]', ' ', 'g');
    RETURN lower(btrim(key, ' '));
END
$search_key$"""
# A function, because an INSERT reads each constraint: it takes 0.2 ms to read all these ranges.
IS_VISIBLE = """\
CREATE OR REPLACE FUNCTION is_visible(text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $is_visible$
BEGIN
    RETURN $1 COLLATE "C" ~ E'[^{invisible}]';
END
$is_visible$"""
SPACES = "9-D 1C-1F 85 1680 2028-2029"  # what NFKD does not replace with a blank

INDEXES = {
    "ix_products_category_key": "(search_key(category), id)",
    "ix_products_category_key_price": "(search_key(category), price, id)",
    "ix_products_category_key_price_desc": "(search_key(category), price DESC, id)",
}
SEARCH_INDEX = {
    "ix_products_search_key": """\
USING gin (
    search_key(name || coalesce(' ' || description, '') || coalesce(' ' || category, ''))
    gin_trgm_ops
)"""
}
# An index is built without a lock that blocks writers, but waits for all open transactions.
PATIENCE = ("SET lock_timeout = '15min'", "SET statement_timeout = 0")
IMPATIENCE = ("SET lock_timeout = '5s'", "SET statement_timeout = '15min'")


def upgrade() -> None:
    """Replace the constraints; on PostgreSQL, add the functions and the indexes."""
    if _is_postgresql():
        op.execute(_search_key())
        op.execute(IS_VISIBLE.format(invisible=_character_class(INVISIBLE, _escaped)))
    if not op.get_context().as_sql:
        _require_visible_texts()
    if not _is_postgresql():
        _recreate_table("visible", _is_visible)
        return
    with op.get_context().autocommit_block():
        _replace_constraints("not_blank", "visible", _is_visible)
        _execute_all(PATIENCE)
        for name, definition in {**INDEXES, **_search_index()}.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # an interrupted one is invalid
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON products {definition}")
        op.execute("ANALYZE products")
        _execute_all(IMPATIENCE)


def downgrade() -> None:
    """Return to the constraints of 0001; on PostgreSQL, drop the functions and the indexes."""
    if not _is_postgresql():
        _recreate_table("not_blank", _is_not_blank)
        return
    with op.get_context().autocommit_block():
        _replace_constraints("visible", "not_blank", _is_not_blank)
        _execute_all(PATIENCE)
        for name in {**INDEXES, **SEARCH_INDEX}:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        _execute_all(IMPATIENCE)
    op.execute("DROP FUNCTION IF EXISTS search_key(text), is_visible(text)")


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _execute_all(statements: tuple[str, ...]) -> None:
    for statement in statements:
        op.execute(statement)


def _require_visible_texts() -> None:
    is_invisible = f"NOT ({_is_visible('name')}) OR NOT ({_is_visible('img_url')})"
    found = op.get_bind().exec_driver_sql(
        f"SELECT id FROM products WHERE {is_invisible} ORDER BY id LIMIT 20"  # noqa: S608
    )
    if ids := [str(each) for each in found.scalars()]:
        raise click.ClickException(
            f"The name or img_url of product {', '.join(ids)} has no visible character: "
            "give them other values, then run this command again. Nothing was changed."
        )


def _replace_constraints(old: str, new: str, condition: Callable[[str], str]) -> None:
    """Replace the constraint of each column; only VALIDATE reads the table, without blocking it."""
    for column in ("name", "img_url"):
        added = f"ck_products_{column}_{new}"
        op.execute(
            f"-- squawk-ignore ban-drop-constraint\n"
            f"ALTER TABLE products DROP CONSTRAINT IF EXISTS {added},"
            f" ADD CONSTRAINT {added} CHECK ({condition(column)}) NOT VALID"
        )
        op.execute(f"ALTER TABLE products VALIDATE CONSTRAINT {added}")
        op.execute(
            f"-- squawk-ignore ban-drop-constraint\n"
            f"ALTER TABLE products DROP CONSTRAINT IF EXISTS ck_products_{column}_{old}"
        )


def _recreate_table(constraint: str, condition: Callable[[str], str]) -> None:
    """Copy all rows to a new table: SQLite cannot change a constraint."""
    op.rename_table("products", "products_old")
    op.create_table(
        "products",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("img_url", sa.String(2048), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("price", sa.REAL(), nullable=False),
        sa.Column("rating", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("category", sa.String(255)),
        sa.Column(
            "status",
            sa.Enum("active", "disabled", "inactive", name="status", create_constraint=True),
            server_default="active",
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
        _check("id_range", "id BETWEEN 1 AND 2147483647"),
        _check("name_length", "length(name) <= 255"),
        _check(f"name_{constraint}", condition("name")),
        _check("img_url_length", "length(img_url) <= 2048"),
        _check(f"img_url_{constraint}", condition("img_url")),
        _check("description_length", "length(description) <= 10000"),
        _check("price_range", "price BETWEEN 0 AND 9999999999.99"),
        _check("price_decimals", "price = round(price, 2)"),
        _check("rating_range", "rating BETWEEN 0 AND 2147483647"),
        _check("category_length", "length(category) <= 255"),
        sqlite_autoincrement=True,
    )
    op.execute("INSERT INTO products SELECT * FROM products_old")
    # The highest id that was ever given is kept, so that no id is used twice.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'products'")
    op.execute("UPDATE sqlite_sequence SET name = 'products' WHERE name = 'products_old'")
    op.drop_table("products_old")
    for column in ("name", "price", "rating", "category", "status"):
        op.create_index(f"ix_products_{column}", "products", [column, "id"])
        op.create_index(f"ix_products_{column}_desc", "products", [sa.text(f"{column} DESC"), "id"])


def _check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_products_{name}"))


def _is_visible(column: str) -> str:
    """Return the condition; its first half is fast, and true for most texts."""
    if _is_postgresql():
        return f"{column} ~ '[!-~]' OR is_visible({column})"
    # GLOB takes U+FFFE and U+FFFF for U+FFFD, which is visible.
    rest = f"replace(replace({column}, '\ufffe', ''), '\uffff', '')"
    invisible = _character_class(INVISIBLE.replace("FFFE-FFFF ", ""), chr)
    return f"{column} GLOB '*[!-~]*' OR {rest} GLOB '*[^{invisible}]*'"


def _is_not_blank(column: str) -> str:
    if _is_postgresql():
        return f"trim({column}, E'{''.join(_escaped(ord(space)) for space in WHITE_SPACE)}') <> ''"
    # Without a tab character, which `--sql` expands to four spaces.
    return f"trim({column}, char(9) || '{WHITE_SPACE[1:]}') <> ''"


def _search_index() -> dict[str, str]:
    """Return the index that needs pg_trgm, which may be missing; `--sql` expects it."""
    context = op.get_context()
    extension = "SELECT FROM pg_extension WHERE extname = 'pg_trgm'"
    if context.as_sql or op.get_bind().exec_driver_sql(extension).first() is not None:
        return SEARCH_INDEX
    return {}


def _search_key() -> str:
    spellings = dict(_case_foldings())
    for plain, letters in SPELLINGS.items():
        spellings.update(dict.fromkeys(letters, plain))
    letters = " ".join(f"{ord(letter):X}" for letter in sorted(spellings))
    return SEARCH_KEY.format(
        unassigned=_character_class(UNASSIGNED, _escaped),
        removed=_character_class(REMOVED, _escaped),
        letters=_character_class(letters, _escaped),
        spaces=_character_class(SPACES, _escaped),
        spellings=json.dumps(spellings).replace("'", "''"),
    )


def _case_foldings() -> Iterator[tuple[str, str]]:
    """Yield the case folding of each letter that does not decompose.

    Unicode guarantees that it never changes for the characters that Unicode 14 assigns.
    """
    unassigned = {point for first, last in _ends(UNASSIGNED) for point in range(first, last + 1)}
    for point in range(0x80, 0x20000):
        letter = chr(point)
        folded = letter.casefold()
        if folded != letter == normalize("NFKD", letter) and point not in unassigned:
            yield letter, folded


def _ends(ranges: str) -> Iterator[tuple[int, int]]:
    for each in ranges.split():
        first, _, last = each.partition("-")
        yield int(first, 16), int(last or first, 16)


def _character_class(ranges: str, written: Callable[[int], str]) -> str:
    return "".join(
        written(first) if first == last else f"{written(first)}-{written(last)}"
        for first, last in _ends(ranges)
    )


def _escaped(point: int) -> str:
    return f"\\u{point:04x}" if chr(point) <= "\uffff" else f"\\U{point:08x}"
