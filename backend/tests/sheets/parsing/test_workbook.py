from __future__ import annotations

import io
import struct
import time
import zipfile
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest

from app.sheets.parsing import SheetError, find_layout, read_lines, read_table
from app.sheets.parsing.workbook import check_package

HEAD = ["코드", "멘트", "비고"]


def book(*rows: list[Any], more: dict[str, list[list[Any]]] | None = None, change: Any = None) -> bytes:
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    for title, others in (more or {}).items():
        sheet = made.create_sheet(title)
        for row in others:
            sheet.append(row)
    if change:
        change(made)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def repacked(data: bytes, **parts: bytes) -> bytes:
    """A workbook with some of its parts replaced, as no spreadsheet would write it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, parts.pop(name.rsplit("/", 1)[-1].replace(".", "_"), old.read(name)))
        for name, content in parts.items():
            new.writestr(f"xl/{name}", content)
    return file.getvalue()


def refused(data: bytes) -> str:
    with pytest.raises(SheetError) as caught:
        read_lines(table := read_table(data), find_layout(table))
    assert len(str(caught.value)) > 20
    return caught.value.code


def test_cells_are_read_as_they_look() -> None:
    data = book(
        ["2026년 안내 멘트"], [], HEAD, ["001", "안녕하세요.", None], [2, "둘", 3.0], [True, "셋", 0.5],
        ["d", "넷", date(2026, 1, 2)], ["e", "다섯", datetime(2026, 1, 2, 3, 4)], [None, None, None],
        ["f", "여섯\n두 줄", 10**12],
    )  # fmt: skip
    table = read_table(data)
    layout = find_layout(table)
    lines, problems, _ = read_lines(table, layout)
    assert not problems and layout.heading_row == 3 and table.encoding is None
    assert [(line.row, line.code, line.text, line.note) for line in lines] == [
        (4, "001", "안녕하세요.", ""), (5, "2", "둘", "3"), (6, "TRUE", "셋", "0.5"), (7, "d", "넷", "2026-01-02"),
        (8, "e", "다섯", "2026-01-02 03:04:00"), (10, "f", "여섯\n두 줄", "1000000000000"),
    ]  # fmt: skip


def test_the_sheet_with_announcements_is_chosen_and_others_are_named() -> None:
    data = book(["표지"], more={"멘트": [HEAD, ["1", "하나", ""]], "기타": [["아무", "것"], [1, 2]]})
    table = read_table(data)
    assert (table.worksheet, table.ignored, table.values) == ("멘트", ("Sheet", "기타"), None)


def test_a_second_sheet_holds_values_of_variables() -> None:
    data = book(
        ["코드", "멘트"], ["1", "{고객명}님의 {날짜} 예약입니다."], ["2", "안내입니다."],
        more={"값": [["코드", "고객명", "날짜"], ["1", "김철수", "월요일"], ["1", "이영희", "화요일"]]},
    )  # fmt: skip
    table = read_table(data)
    lines, problems, layout = read_lines(table, find_layout(table))
    assert not problems
    assert [line.text for line in lines] == [
        "김철수님의 월요일 예약입니다.", "이영희님의 화요일 예약입니다.", "안내입니다.",
    ]  # fmt: skip
    assert [column.heading for column in layout.columns] == ["코드", "멘트", "고객명", "날짜"]
    assert lines[1].cells == ("1", "{고객명}님의 {날짜} 예약입니다.", "이영희", "화요일")


def test_a_formula_is_never_worked_out_and_is_named_by_its_row() -> None:
    table = read_table(
        book(HEAD, ["1", '=HYPERLINK("http://x","y")', ""], ["2", "둘", "=1+1"], ["3", "셋", ""])
    )
    lines, problems, _ = read_lines(table, find_layout(table))
    assert [line.code for line in lines] == ["3"]
    assert [(each.row, each.column, each.code) for each in problems] == [
        (2, "멘트", "formula"), (3, "비고", "formula")
    ]  # fmt: skip


def test_merged_cells_are_named() -> None:
    def merge(made: Any) -> None:
        made.active.merge_cells("A2:A3")

    assert refused(book(HEAD, ["1", "하나", ""], ["", "둘", ""], change=merge)) == "merged_cells"

    def title(made: Any) -> None:
        made.active.merge_cells("A1:C1")

    assert read_table(book(["제목"], HEAD, ["1", "하나", ""], change=title)).merged == ((1, 1, "A1:C1"),)
    assert find_layout(read_table(book(["제목"], HEAD, ["1", "하나", ""], change=title))).heading_row == 2


def test_two_heading_rows_are_refused() -> None:
    assert refused(book(HEAD, ["code", "text", "note"], ["1", "하나", ""])) == "two_headings"


def test_a_hundred_thousand_rows_are_refused() -> None:
    cells = "".join(f"<c t='str'><v>{cell}</v></c>" for cell in HEAD)
    rows = "".join(f"<row><c t='str'><v>{n}</v></c><c t='str'><v>안녕</v></c></row>" for n in range(100_000))
    body = f"<sheetData><row>{cells}</row>{rows}</sheetData>"
    assert refused(repacked(book(HEAD), sheet1_xml=sheet_xml(body))) == "too_many_rows"


def test_a_locked_or_old_file_says_so() -> None:
    compound = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    assert refused(compound + "EncryptedPackage".encode("utf-16-le") + b"\0" * 100) == "password_protected"
    assert refused(compound) == "old_excel"


def test_an_encrypted_zip_says_so() -> None:
    data = bytearray(book(HEAD, ["1", "하나", ""]))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 8] |= 1
    assert refused(bytes(data)) == "password_protected"


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = b"<worksheet>" + b" " * (30 * 2**20)
    assert refused(repacked(book(HEAD), sheet1_xml=bomb)) == "zip_bomb"
    random = bytes(range(256)) * 40_000
    assert refused(repacked(book(HEAD), **{"big.bin": random + b"x" * 2**20})) in ("zip_bomb",)


def test_a_part_that_lies_about_its_length_is_not_read_further() -> None:
    data = bytearray(repacked(book(HEAD), sheet1_xml=b"<worksheet>" + b" " * (30 * 2**20)))
    at = data.find(b"xl/worksheets/sheet1.xml", data.find(b"PK\x01\x02")) - 46
    struct.pack_into("<I", data, at + 24, 1000)
    assert refused(bytes(data)) == "broken_xlsx"


@pytest.mark.parametrize(
    "xml",
    [
        b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><worksheet>&b;</worksheet>",
        b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><worksheet>&a;</worksheet>",
    ],
)
def test_entities_are_not_expanded(xml: bytes) -> None:
    assert refused(repacked(book(HEAD), sheet1_xml=xml)) == "hostile_xlsx"


def sheet_xml(body: str) -> bytes:
    name = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f"<worksheet xmlns='{name}'>{body}</worksheet>".encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<sheetData><row r='99999999999'><c r='A1' t='str'><v>x</v></c></row></sheetData>", "broken_xlsx"),
        ("<sheetData><row r='1'><c r='XFD1' t='str'><v>x</v></c></row></sheetData>", "too_many_columns"),
        ("<sheetData><row r='x'/></sheetData>", "broken_xlsx"),
        ("<sheetData><row><c t='s'><v>99</v></c></row></sheetData>", "broken_xlsx"),
        ("<sheetData><row>", "broken_xlsx"),
        ("<mergeCells>" + "<mergeCell ref='A1:A2'/>" * 20_001 + "</mergeCells>", "hostile_xlsx"),
        ("<sheetData>" + "".join(f"<c><v>{n * 7919}</v></c>" for n in range(300_001)), "too_many_cells"),
        ("", "empty_sheet"),
    ],
)
def test_a_worksheet_that_no_spreadsheet_wrote(body: str, code: str) -> None:
    assert refused(repacked(book(HEAD), sheet1_xml=sheet_xml(body))) == code


def test_a_file_that_was_cut_off_and_a_zip_of_something_else() -> None:
    whole = book(HEAD, ["1", "하나", ""])
    for length in (30, len(whole) // 2, len(whole) - 10):
        assert refused(whole[:length]) == "broken_xlsx"
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as package:
        package.writestr("hello.txt", "x")
    assert refused(other.getvalue()) == "not_a_sheet"


def test_the_check_alone_takes_a_good_file() -> None:
    check_package(book(HEAD, ["1", "하나", ""]))


def as_excel_writes(cells: str, *strings: str) -> bytes:
    """A workbook with its texts in a table of their own, as Excel writes it (openpyxl puts them into cells)."""
    name = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    table = f"<sst xmlns='{name}'>{''.join(f'<si>{text}</si>' for text in strings)}</sst>"
    data = book(HEAD)
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        types = package.read("[Content_Types].xml").decode()
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    part = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    parts = {"[Content_Types]_xml": types.replace("</Types>", part).encode(), "sheet1_xml": sheet_xml(cells)}
    return repacked(data, **parts, **{"sharedStrings.xml": table.encode()})


def test_a_sheet_as_excel_writes_it() -> None:
    cells = (
        "<dimension ref='A1:B2'/><sheetData><row r='1'><c r='A1' t='s'><v>0</v></c><c r='B1' t='s'><v>1</v></c></row>"
        "<row r='3'><c r='A3' s='1'><v>7</v></c><c r='B3' t='s'><v>2</v></c></row></sheetData>"
    )
    data = as_excel_writes(
        cells, "<t>코드</t>", "<t>멘트</t>",
        "<r><t xml:space='preserve'>안녕 </t></r><r><rPr><b/></rPr><t>하세요.</t></r><rPh sb='0' eb='1'><t>x</t></rPh>",
    )  # fmt: skip
    table = read_table(data)
    lines, problems, _ = read_lines(table, find_layout(table))
    assert not problems and [(line.row, line.code, line.text) for line in lines] == [(3, "7", "안녕 하세요.")]


def test_a_table_of_texts_has_a_limit_too() -> None:
    many = (f"<t>{number * 7919}</t>" for number in range(300_001))
    assert refused(as_excel_writes("<sheetData/>", *many)) == "too_many_cells"


def test_no_name_hides_a_part_from_the_check() -> None:
    merged = sheet_xml("<mergeCells>" + "<mergeCell ref='A1:A2'/>" * 20_001 + "</mergeCells>")
    for name in ("xl/worksheets/sheet1.XML", "xl/media/image1.png", "xl/worksheets/sheet1"):
        assert refused(renamed(repacked(book(HEAD), sheet1_xml=merged), name)) == "hostile_xlsx"
    assert refused(repacked(book(HEAD), sheet1_xml=merged.decode().encode("utf-16"))) == "hostile_xlsx"


def renamed(data: bytes, name: str) -> bytes:
    """A workbook whose first worksheet lies in a part of another name."""
    old, file = "xl/worksheets/sheet1.xml", io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as package, zipfile.ZipFile(file, "w") as new:
        for part in package.namelist():
            content = package.read(part).replace(old.encode(), name.encode())
            new.writestr(name if part == old else part, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def test_a_worksheet_is_read_by_any_name_and_pictures_are_passed_by() -> None:
    data = renamed(book(HEAD, ["1", "하나", ""]), "xl/worksheets/sheet1.XML")
    assert read_table(data).rows[1].cells == ("1", "하나")
    picture = {"media_image1.png": b"\x89PNG\r\n\x1a\n" + b"\0<a<b" * 30_000}
    assert read_table(repacked(data, **picture)).rows[1].cells == ("1", "하나")


def test_a_chart_is_passed_by() -> None:
    def chart(made: Any) -> None:
        made.create_chartsheet("그래프", 0)

    assert read_table(book(HEAD, ["1", "하나", ""], change=chart)).worksheet == "Sheet"


def test_one_part_is_not_two_worksheets() -> None:
    data = book(HEAD, more={"둘": [HEAD]})
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        links = package.read("xl/_rels/workbook.xml.rels").replace(b"sheet2.xml", b"sheet1.xml")
    assert refused(repacked(data, workbook_xml_rels=links)) == "hostile_xlsx"


MANY = 30_000


def names_xml(name: str, value: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(book(HEAD))) as package:
        xml = package.read("xl/workbook.xml").decode().replace("<definedNames />", "")
    names = f"<definedName name='{name}' localSheetId='0'>{value}</definedName>"
    return xml.replace("<calcPr", f"<definedNames>{names}</definedNames><calcPr").encode()


def formats_xml(code: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(book(HEAD))) as package:
        xml = package.read("xl/styles.xml").decode()
    formats = f"<numFmts><numFmt numFmtId='200' formatCode='{code}'/></numFmts>"
    xml = xml.replace('numFmtId="0"', 'numFmtId="200"')
    return xml.replace("<fonts", f"{formats}<fonts", 1).encode()


def shared_formula() -> bytes:
    first = f"<row><c r='A1'><f t='shared' si='0'>{'A1+' * 3000}1</f></c></row>"
    rows = (f"<row><c r='A{row}'><f t='shared' si='0'/></c></row>" for row in range(2, 2000))
    return sheet_xml(f"<sheetData>{first}{''.join(rows)}</sheetData>")


@pytest.mark.parametrize(
    "parts",
    [
        {"sheet1_xml": sheet_xml("<mergeCell " * MANY)},
        {"sheet1_xml": sheet_xml("<sheetData/><mergeCell " + "ref='A" * MANY)},
        {"sheet1_xml": shared_formula()},
        {"workbook_xml": names_xml("_xlnm.Print_Titles", "a" * MANY)},
        {"workbook_xml": names_xml("_xlnm.Print_Area", "&apos;" * MANY)},
        {"styles_xml": formats_xml("[" * 3 * MANY)},
    ],
    ids=["merged", "references", "shared", "titles", "area", "format"],
)  # fmt: skip
def test_no_part_takes_longer_than_its_length(parts: dict[str, bytes]) -> None:
    began = time.process_time()
    try:
        read_table(repacked(book(HEAD), **parts))
    except SheetError as error:
        assert error.code in ("hostile_xlsx", "empty_sheet", "broken_xlsx")
    assert time.process_time() - began < 2
