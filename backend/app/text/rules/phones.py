"""Telephone numbers: digit by digit, a breath at each hyphen, which itself is silent."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.scan import Cursor, Hit

_SEP = r"(?: ?[-.)·] ?| )"
_INTERNATIONAL = re.compile(r"\+ ?([0-9]{1,3})((?:[-. ]{0,2}\(?[0-9]{1,5}\)?){1,5})(?![0-9])(?!-[0-9])")
_DOMESTIC = re.compile(
    rf"\(?(0[0-9]{{1,3}}){_SEP}([0-9]{{3,4}}){_SEP}([0-9]{{4}})(?![0-9])"
    rf"|(1[3-9][0-9]{{2}}) ?- ?([0-9]{{4}})(?![0-9]|-[0-9])"
    rf"|\(?([0-9]{{3}})(?:\) ?[-.]?|[-.])([0-9]{{3}})[-.]([0-9]{{4}})(?![0-9]|-[0-9])"
    rf"|([2-9][0-9]{{2,3}})-([0-9]{{4}})(?![0-9]|-[0-9])"
)
_JOINED = re.compile(r"(01[016789]|02|0[3-6][1-5]|070|080|050[0-9])([0-9]{3,4})([0-9]{4})(?![0-9])")
_SERVICE = re.compile(
    r"(15(?:22|44|66|77|88|99)|16(?:00|44|61|66|70|88)|18(?:00|11|33|55|77|99))([0-9]{4})(?![0-9])"
)
_SHORT = re.compile(r"(1[0-9]{2,3})(?![0-9:/~-]|[.,][0-9])")
_SPECIAL = frozenset(
    ["100", "101", "105", "106", "107", "108", "109", "110", "111", "112", "113", "114", "115", "116", "117", "118", "119", "120", "121", "122", "123", "125", "126", "127", "128", "129", "131", "132", "134", "141", "182", "188", "1301", "1303", "1330", "1331", "1332", "1333", "1335", "1336", "1337", "1338", "1339", "1341", "1345", "1350", "1355", "1357", "1365", "1366", "1369", "1370", "1372", "1377", "1379", "1382", "1385", "1388", "1389", "1390", "1391", "1393", "1397", "1398", "1399", "1544", "1566", "1577", "1588", "1599", "1600", "1644", "1661", "1666", "1670", "1688", "1800", "1811", "1833", "1855", "1877", "1899"]
)
_CALL_BEFORE = re.compile(
    r"(?:국번 ?없이|지역번호 ?없이|전화는?|신고는?|☎|대표번호는?|콜센터는?|고객센터는?|상담은?|상담전화는?|문의는?|긴급전화는?|번호는?|구급|Tel\.?|TEL\.?|통신사|연락처는?)[ :(\[]{0,3}$"
)
_CALL_AFTER = re.compile(
    r"(?:번)?(?:으로|로|에|에서|을|를)? ?(?:신고|전화|연락|문의|상담|콜센터|안전|구급|소방|구조|상황|대원|출동|민원|다산|생명|종합|긴급|수사|경찰|치매|정신|에 알|에 도움|를 눌|을 눌|눌러|호출|전국|센터|응급|누르|핫라인)|번?(?:으로|로)(?![가-힣])"
)


def telephone(cursor: Cursor) -> Hit | None:
    """Numbers that look like a telephone's whatever stands around them."""
    text, start = cursor.text, cursor.position
    if text[start] == "+":
        match = _INTERNATIONAL.match(text, start)
        if not match:
            return None
        groups = re.findall(r"[0-9]+", match[2])
        if sum(map(len, groups)) < 6 or not groups or text[match.end() - 1] == "(":
            return None
        spoken = " ".join([numbers.digits(match[1]), *map(numbers.digits, groups)])
        return Hit(match.end(), f"국가번호 {spoken}", "phone", "international", (f"플러스 {spoken}",))
    if text[start] not in "(0123456789":
        return None
    match = _DOMESTIC.match(text, start)
    if match:
        groups = [group for group in match.groups() if group]
        if text[start] == "(" and ")" not in match.group():
            return None
        years = groups[0][:2] in ("19", "20") and len(groups) == 2
        if years or _money_follows(text, match.end()):
            return None
        return Hit(match.end(), " ".join(map(numbers.digits, groups)), "phone", "hyphens")
    match = _JOINED.match(text, start) or _SERVICE.match(text, start)
    if match and not _money_follows(text, match.end()):
        return Hit(match.end(), " ".join(map(numbers.digits, match.groups())), "phone", "joined")
    return None


def _money_follows(text: str, end: int) -> bool:
    return text.startswith(("원", " 원", "%", "달러", "개", "명", "호"), end)


def special(cursor: Cursor) -> Hit | None:
    """119, 1339: emergency and service numbers, where someone calls them."""
    match = cursor.match(_SHORT)
    if not match or match[1] not in _SPECIAL:
        return None
    text, end = cursor.text, match.end()
    before = cursor.before()
    always = match[1] in ("112", "114", "119", "182") or len(match[1]) == 4
    if not (_CALL_BEFORE.search(before) or _CALL_AFTER.match(text, end)) and not (
        always and re.match(r"(?:번|로|에|은|는|를|을|이|가|와|과|나|입| |,|\.|$|[)\]])", text[end : end + 1])
    ):
        return None
    if re.match(
        r" ?(?:원|명|개|호|건|일|%|점|동|회|층|년|미터|킬로|세대|km|kg|cm|m(?![a-z])|분(?!간|실))",
        text[end : end + 3],
    ):
        return None
    return Hit(end, numbers.digits(match[1]), "phone", "special", (numbers.sino(match[1]),))
