"""What benchmarks write down."""

from benchmarks import record


def test_lines_are_shown_and_kept_behind_the_machine(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    kept = record.Record("two toys")
    kept.say("a", "b")
    kept.keep("toys")
    lines = (tmp_path / "results" / "toys.txt").read_text().splitlines()
    assert lines[0].endswith(": two toys") and "processors" in lines[0] and lines[1:] == ["a", "b"]
    assert capsys.readouterr().out.splitlines() == lines


def test_a_part_in_its_own_process_gives_its_last_line(monkeypatch, tmp_path):
    code = "import json, sys\nprint('at work')\nprint(json.dumps(sys.argv[1:]))\n"
    (tmp_path / "part_of_it.py").write_text(code)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.in_process("part_of_it", "--row", 2) == ["--row", "2"]
