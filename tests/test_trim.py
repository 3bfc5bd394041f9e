from grader.text import fitting, taken


def test_a_text_is_cut_by_what_it_takes_in_a_record():
    assert fitting("short", 5) == "short"
    assert fitting("a" * 10, 4) == "aaaa … (6 more characters)"
    assert fitting('"' * 10, 4) == '"" … (8 more characters)'
    assert fitting("\U0001f600" * 10, 9) == "\U0001f600\U0001f600 … (8 more characters)"
    assert fitting("anything", 0) == ""
    assert taken('"\n\U0001f600') == 8
