"""The rules of Korean reading, in the order in which they are asked."""

from __future__ import annotations

from app.text.rules import (
    calendar,
    clock,
    codes,
    electronic,
    expressions,
    fractions,
    identifiers,
    latin,
    money,
    phones,
    plain,
    quantities,
    symbols,
)
from app.text.scan import DIGIT, LATIN, OTHER, Rule

RULES: dict[str, tuple[Rule, ...]] = {
    DIGIT: (
        electronic.address,
        phones.telephone,
        latin.phrase,
        identifiers.plate,
        identifiers.announced,
        plain.listed,
        clock.moment,
        calendar.full_date,
        clock.time,
        calendar.month_and_day,
        money.coded_amount,
        expressions.ratio,
        fractions.fraction,
        expressions.special_number,
        phones.special,
        identifiers.numbered,
        quantities.duration,
        quantities.quantity,
        identifiers.grouped,
        plain.bare,
    ),
    LATIN: (
        electronic.address,
        clock.english_half,
        money.coded_amount,
        latin.numbered,
        latin.phrase,
        latin.roman,
        latin.grade,
        codes.code,
        latin.word,
    ),
    OTHER: (
        calendar.weekdays,
        symbols.both_particles,
        phones.telephone,
        symbols.phrase,
        calendar.short_year,
        money.coded_amount,
        plain.compared,
        plain.signed,
        symbols.mark,
    ),
}
