"""Drawings of definitions: every node is in them, nothing breaks out of them, and they are made at once."""

import random
import time
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.workflows.drawing import MOST_BOXES, draw
from apps.workflows.drawing.arranging import GAP, arrange
from apps.workflows.drawing.sketch import read

SVG = "{http://www.w3.org/2000/svg}"
ADDRESS = "#step-{}".format


def node(node_id, kind="template", **more):
    return {"id": node_id, "kind": kind, "config": {}, **more}


def chain(*ids):
    edges = [{"from": source, "to": target} for source, target in pairwise(ids)]
    return {"nodes": [node(node_id) for node_id in ids], "edges": edges}


def parsed(definition, states=None, **options):
    return ET.fromstring(draw(definition, states, **options))  # noqa: S314 (our own SVG)


def arranged(definition, positions=()):
    sketch = read(definition)
    arrange(sketch, dict(positions))
    return {box.id: box for box in sketch.boxes}, sketch


def test_a_chain_goes_down_and_a_join_is_below_its_longest_branch():
    graph = chain("a", "b", "c", "d")
    graph["edges"].append({"from": "a", "to": "d", "handle": "error"})
    boxes, _ = arranged(graph)
    tops = [boxes[node_id].y for node_id in "abcd"]
    assert tops == sorted(set(tops))


def test_branches_stand_side_by_side_with_their_handles():
    graph = {
        "nodes": [node("route", "condition"), node("urgent"), node("other")],
        "edges": [{"from": "route", "to": one, "handle": one} for one in ("urgent", "other")],
    }
    boxes, _ = arranged(graph)
    left, right = sorted((boxes["urgent"], boxes["other"]), key=lambda box: box.x)
    assert left.y == right.y
    assert left.x + left.width + GAP <= right.x + 0.01
    assert {text.text or "" for text in parsed(graph).iter(f"{SVG}text")} >= {"condition", "route"}
    assert draw(graph).count('class="wf-handle"') == 2


def test_bodies_are_within_their_container():
    body = {**chain("write", "check"), "output": None}
    boxes, _ = arranged({"nodes": [node("all", "map", config={"body": body})], "edges": []})
    outer = boxes["all"]
    assert outer.body is not None
    for box in outer.body.boxes:
        assert box.x + box.width <= outer.width
        assert box.y + box.height <= outer.height
    assert [box.path for box in outer.body.boxes] == ["all.write", "all.check"]


def test_states_are_shown_by_path_and_those_of_bodies_together():
    body = chain("write")
    definition = {"nodes": [node("all", "map", config={"body": body}), node("end")], "edges": []}
    states = {"all": "running", "all[0].write": "succeeded", "all[1].write": "failed", "child.end": "failed"}
    drawn = draw(definition, states, link=ADDRESS)
    assert 'href="#step-all.write" aria-label="write, template, failed, 1 succeeded 1 failed"' in drawn
    assert 'href="#step-all" aria-label="all, map, running"' in drawn
    assert 'href="#step-end" aria-label="end, template, pending"' in drawn
    assert "wf-pending" not in draw(definition)


def test_what_users_wrote_cannot_break_out_and_long_names_are_cut():
    evil = '</text><script>alert(1)</script>"\x00\ud800'
    definition = {
        "nodes": [node(evil, evil, name=f"{evil} and a name that is too long"), node("b")],
        "edges": [{"from": evil, "to": "b", "handle": evil}],
    }
    root = parsed(definition, {evil: evil}, title=evil, link=ADDRESS)
    assert not list(root.iter(f"{SVG}script"))
    assert any("too long" in (title.text or "") for title in root.iter(f"{SVG}title"))
    assert any((text.text or "").endswith("…") for text in root.iter(f"{SVG}text"))


def test_positions_of_an_editor_are_kept_when_every_node_has_one():
    graph = chain("a", "b")
    places = {"a": {"x": 500, "y": 40}, "b": {"x": 100, "y": 90.5}}
    boxes, _ = arranged(graph, places)
    assert (boxes["a"].x, boxes["a"].y, boxes["b"].x, boxes["b"].y) == (400, 0, 0, 50.5)
    assert draw({**graph, "layout": {"positions": places}}) != draw(graph)
    for bad in ({"a": places["a"]}, {**places, "b": {"x": True, "y": 1}}, {**places, "b": {"x": 1e300, "y": 0}}, []):
        assert draw({**graph, "layout": {"positions": bad}}) == draw(graph)


@pytest.mark.parametrize(
    "draft",
    [
        {},
        [],
        None,
        {"nodes": 7},
        {"nodes": [1, {"id": 2}, {}], "edges": [None, {"from": [], "to": {}}]},
        {"nodes": [node("a", config=[]), node("a")], "edges": [{"from": "a", "to": "a"}, {"from": "a", "to": "b"}]},
        {"nodes": [node("a", config={"body": {"nodes": None}})], "layout": [], "edges": {}},
    ],
    ids=str,
)
def test_broken_drafts_are_drawn_as_far_as_they_go(draft):
    assert parsed(draft, {}).tag == f"{SVG}svg"


def test_cycles_and_deep_bodies_end():
    graph = chain("a", "b", "c")
    graph["edges"].append({"from": "c", "to": "a"})
    assert len(list(parsed(graph).iter(f"{SVG}rect"))) == 3
    deep = chain("leaf")
    for depth in range(50):
        deep = {"nodes": [node(f"n{depth}", "loop", config={"body": deep})], "edges": []}
    assert parsed(deep).tag == f"{SVG}svg"


def test_too_many_nodes_are_not_drawn():
    assert "are not drawn" in draw({"nodes": [node(f"n{i}") for i in range(MOST_BOXES + 1)]})


def test_with_links_it_is_a_group_whose_links_have_names_and_else_an_image():
    root = parsed(chain("a"), {}, title="Run 7", link=ADDRESS)
    assert (root.get("role"), root.get("aria-label")) == ("group", "Run 7")
    assert parsed(chain("a"), title="Run 7").get("role") == "img"


def test_two_hundred_nodes_are_drawn_in_a_tenth_of_a_second():
    chance = random.Random(7)
    nodes = [node(f"n{i}") for i in range(200)]
    edges = [{"from": f"n{chance.randrange(i)}", "to": f"n{i}"} for i in range(1, 200) for _ in range(5)]
    times = []
    for _ in range(3):
        started_at = time.process_time()
        draw({"nodes": nodes, "edges": edges}, {})
        times.append(time.process_time() - started_at)
    assert min(times) < 0.1


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 14))
    places = st.integers(0, count - 1)
    return count, draw(st.lists(st.tuples(places, places), max_size=40))


@given(graphs())
def test_boxes_never_overlap(graph):
    count, pairs = graph
    nodes = [node(f"n{i}", config={"body": chain("x", "y")} if i % 5 == 4 else {}) for i in range(count)]
    _, sketch = arranged({"nodes": nodes, "edges": [{"from": f"n{a}", "to": f"n{b}"} for a, b in pairs]})
    for number, one in enumerate(sketch.boxes):
        assert one.x >= -0.01
        assert one.x + one.width <= sketch.width + 0.01
        for other in sketch.boxes[:number]:
            apart_x = one.x + one.width <= other.x + 0.01 or other.x + other.width <= one.x + 0.01
            apart_y = one.y + one.height <= other.y + 0.01 or other.y + other.height <= one.y + 0.01
            assert apart_x or apart_y, (one.id, other.id)
