"""What the README promises: its lab file is right, and what it points at is there."""

import re
from pathlib import Path

from springtide.lab.load import parse_lab

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()


def test_the_ten_line_lab_is_right_and_has_ten_lines() -> None:
    lab, _ = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(lab.strip().splitlines()) == 10
    assert parse_lab(lab, TOP / "lab.yaml").lab.name == "Gravity lab"


def test_the_sites_with_workers_are_right() -> None:
    _, sites = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    lab = parse_lab(f"springtide: 1\nprofiles: [{{name: x, site: cluster}}]\n{sites}", TOP / "lab.yaml")
    assert (list(lab.sites), list(lab.clouds)) == (["cluster"], ["burst", "campus"])


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (TOP / link).exists()] == []
