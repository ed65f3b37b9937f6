"""The picture of the dashboard."""

import re
from xml.etree import ElementTree

from bench.panels import Line, Panel, named, picture

ROW, PLAIN = Panel("Renewals"), Panel("Latency added", "s", queries=[("up", "{{pod}}")])
STACKED = Panel("Ends", "none", stacked=True, queries=[("up", "{{reason}}")])


def drawn(*shown: tuple[Panel, list[Line]]) -> str:
    made = picture(shown, begins=0, ends=60, title="A day & a night")
    ElementTree.fromstring(made)
    return made


def test_a_panel_shows_its_title_its_lines_and_the_greatest_value_with_its_unit() -> None:
    line = Line("p50 <all>", [(0, 0.001), (30, 0.0035), (60, 0.002)])

    made = drawn((ROW, []), (PLAIN, [line]))

    for words in ("Renewals", "Latency added", "p50 &lt;all&gt;", ">4ms<", ">2ms<"):
        assert words in made
    assert made.count("<polyline") == 1


def test_stacked_lines_stand_on_one_another() -> None:
    made = drawn((STACKED, [Line("idle", [(0, 3), (60, 3)]), Line("logout", [(0, 5), (60, 5)])]))

    first, second = re.findall(r'<polyline points="[\d.]+,([\d.]+) ', made)
    assert ">10<" in made
    assert float(first) > float(second)  # the higher, the less


def test_where_a_value_is_missing_a_line_is_broken() -> None:
    made = drawn((PLAIN, [Line("up", [(0, 1), (2, 1), (4, 1), (20, 1), (22, 1)])]))

    assert made.count("<polyline") == 2


def test_a_panel_without_data_says_so() -> None:
    assert ">nothing<" in drawn((PLAIN, []))


def test_a_line_has_its_labels_for_a_name() -> None:
    assert named("{{endpoint}} p50", {"endpoint": "token"}) == "token p50"


def test_a_day_has_as_few_labels_as_a_minute() -> None:
    day = picture([(PLAIN, [Line("up", [(0, 1), (86400, 1)])])], begins=0, ends=86400, title="")
    minute = drawn((PLAIN, []))

    assert re.findall(r">(\d+ h)<", day) == [f"{hour} h" for hour in range(0, 25, 4)]
    assert re.findall(r">(\d+:\d\d)<", minute) == ["0:00", "0:30", "1:00"]
