"""Two cards become one: facts of the flow that is pushed, words of whoever wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from flowprior.errors import CheckpointError
from flowprior.flow.card_merge import merged
from flowprior.flow.card_text import section_in

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the test extra is not installed")
BEFORE = {"library_name": "flowprior", "tags": ["flow-matching", "flowprior"], "datasets": ["digits"]}
HEAD = 'library_name: "flowprior"\ntags:\n- "flow-matching"\n- "flowprior"\ndatasets:\n- "digits"\n'


def card(training: str, *, head: str = HEAD, above: str = "", below: str = "", more: str = "") -> str:
    section = f"<!-- flowprior: training -->\n\n{training}\n\n<!-- flowprior: end of training -->\n"
    return f"---\n{head}{more}---\n\n{above}{section}{below}"


def head_of(text: str) -> dict[str, Any]:
    return huggingface_hub.ModelCard(text).data.to_dict()


def test_words_of_both_stay_where_they_stood_and_the_facts_are_new() -> None:
    theirs = card("old", above="By Ada.\n\n", below="\nSee also theirs.\n")
    own = card("new", above="By Ada.\n\nAnd Bob.\n\n", below="\nSee also ours.\n")
    found = merged(own, theirs, BEFORE)
    assert section_in(found, "training") == "new"
    assert found.count("By Ada.") == 1
    order = [found.index(words) for words in ("By Ada.", "And Bob.", "new", "also theirs.", "also ours.")]
    assert order == sorted(order)


def test_merging_twice_changes_nothing_more() -> None:
    own = card("new", above="Mine.\n\n", below="\nMine, too.\n")
    once = merged(own, card("old", below="\nTheirs.\n"), BEFORE)
    assert merged(own, once, BEFORE) == once


def test_a_block_of_code_with_a_blank_line_stays_whole() -> None:
    code = "```py\nfirst\n\nsecond\n```"
    found = merged(card("new", below=f"\n{code}\n"), card("old", below="\nfirst\n"), BEFORE)
    assert code in found
    assert merged(card("new", below=f"\n{code}\n"), found, BEFORE) == found


def test_keys_of_the_head_that_people_added_or_changed_stay() -> None:
    theirs_head = HEAD.replace('- "digits"', '- "digits"\n- mnist').replace("- ", "- cool\n- ", 1)
    theirs = card("old", head=theirs_head, more="pipeline_tag: other\nlanguage: en\n")
    own_head = HEAD.replace("digits", "emoji") + 'pipeline_tag: "text-to-image"\n'
    found = head_of(merged(card("new", head=own_head, more="license: mit\n"), theirs, BEFORE))
    assert found["tags"] == ["flow-matching", "flowprior", "cool"]
    assert found["datasets"] == ["emoji", "mnist"], "that of the flow before goes"
    assert (found["pipeline_tag"], found["language"], found["license"]) == ("other", "en", "mit")


def test_what_flowprior_wrote_of_the_flow_before_goes() -> None:
    theirs = card("old", more='pipeline_tag: "image-to-image"\nmetrics:\n- "fid"\n')
    found = head_of(merged(card("new"), theirs, {**BEFORE, "pipeline_tag": "image-to-image"}))
    assert "pipeline_tag" not in found
    assert "metrics" not in found


def test_a_license_of_theirs_wins_over_another_one() -> None:
    theirs, own = card("old", more="license: mit\n"), card("new", more="license: apache-2.0\n")
    assert head_of(merged(own, theirs, BEFORE))["license"] == "mit"


def test_a_head_with_comments_and_lists_in_one_line_is_read() -> None:
    theirs = card("old", head="# mine\ntags: [cool, flowprior]\n")
    found = merged(card("new"), theirs, {})
    assert head_of(found)["tags"] == ["flow-matching", "flowprior", "cool"]
    assert "# mine" in found


def test_a_head_that_is_no_yaml_is_told_as_that() -> None:
    with pytest.raises(CheckpointError, match="expected a card whose head is YAML"):
        merged(card("new"), card("old", more="license: [apache\n"), BEFORE)


def test_a_key_in_quotes_is_the_key_without_them() -> None:
    theirs = card("old", head=HEAD.replace("tags:", '"tags":'))
    assert merged(card("new"), theirs, BEFORE).count("tags") == 1


def test_a_card_without_a_head_is_given_one() -> None:
    body = card("old").partition("---\n")[2].partition("---\n")[2]
    assert head_of(merged(card("new"), body, {}))["tags"] == head_of(card("new"))["tags"]
