"""Money with a sign or code in front: $1,250, ₩30억, USD 100. Amounts in 원 are quantities."""

from __future__ import annotations

import re

from app.text import numbers
from app.text.rules.amounts import Amount, amount
from app.text.rules.measures import rate
from app.text.scan import Cursor, Hit
from app.text.tables import currencies

_SIGN = re.compile(r"[-+]? ?")
_CENTS = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,12})\.([0-9]{2})(?![0-9])")
_RANGE = re.compile(r" ?~ ?")


def coded_amount(cursor: Cursor) -> Hit | None:
    text, start = cursor.text, cursor.position
    minus = ""
    if text[start] in "-+":
        minus = "마이너스 " if text[start] == "-" else "플러스 "
        start += 1
    code = currencies()[0].longest(text, start)
    if not code:
        return None
    if code.isalpha() and (
        not text.startswith((" ", *"0123456789"), start + len(code))
        or (cursor.previous().isalpha() and cursor.previous().isascii())
    ):
        return None
    gap = re.compile(r" ?(-?)").match(text, start + len(code))
    position = gap.end() if gap else start + len(code)
    if gap and gap[1]:
        minus = "마이너스 "
    currency = currencies()[1][code]
    found = _amount(text, position)
    if not found:
        return None
    end, spoken = found.end, _spoken(text, position, currency.name, currency.hundredth)
    cents = _CENTS.match(text, position)
    if cents and not found.large:
        end = cents.end()
    name = f" {currency.name}"
    if text.startswith((currency.name, f" {currency.name}"), end):
        end += len(currency.name) + (text[end] == " ")
    sign = _RANGE.match(text, end)
    if sign:
        again = currencies()[0].longest(text, sign.end())
        later = _amount(text, sign.end() + len(again or ""))
        if later:
            right = _spoken(text, sign.end() + len(again or ""), currency.name, currency.hundredth)
            end = later.end
            if text.startswith(name.strip(), end):
                end += len(name.strip())
            return Hit(end, f"{minus}{spoken}에서 {right}", "money", "range")
    per = rate(text, end)
    if per:
        end, spoken = per[0], f"{per[1]} {spoken}"
    return Hit(end, minus + spoken, "money", "currency sign")


def _amount(text: str, position: int) -> Amount | None:
    """An amount; 조 needs nothing behind it where a currency stands before."""
    found = amount(text, position)
    if found and not found.large and text.startswith("조", found.end):
        return found._replace(end=found.end + 1, spoken=f"{found.spoken}조", value=None, large="조")
    return found


def _spoken(text: str, position: int, name: str, hundredth: str) -> str:
    cents = _CENTS.match(text, position)
    found = _amount(text, position)
    if cents and hundredth and found and not found.large:
        whole, rest = cents[1].replace(",", ""), int(cents[2])
        parts = [f"{numbers.sino(whole)} {name}"] if int(whole) or not rest else []
        if rest:
            parts.append(f"{numbers.sino(rest)} {hundredth}")
        return " ".join(parts)
    return f"{found.spoken} {name}" if found else ""
