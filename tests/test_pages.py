"""Every block of code in the documentation runs, or says why it does not: the quick ones here, all of them in `make docs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip_site import blocks, generated, running, tables

ROOT = Path(__file__).parents[1]
PAGES = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in blocks.pages(ROOT)}
QUICK = [name for name, text in PAGES.items() if any(block.runs and block.quick for block in blocks.blocks_of(text))]


@pytest.mark.parametrize("name", PAGES)
def test_marks_stand_over_blocks_and_give_reasons(name: str) -> None:
    assert not blocks.complaints(PAGES[name])


@pytest.mark.parametrize("name", QUICK)
def test_quick_blocks_run_from_the_top(name: str, tmp_path: Path) -> None:
    running.run_page(PAGES[name], tmp_path, name=name, wanted=lambda block: block.quick)


def test_readme_and_the_first_tutorial_paint() -> None:
    """Pasting them is what a newcomer does: they are not among what only `make docs` runs."""
    for name in ("README.md", "docs/tutorials/first-picture.md"):
        assert any(
            "dynaip generate" in block.text and block.quick and block.runs for block in blocks.blocks_of(PAGES[name])
        )


def test_a_block_that_fails_is_named_with_its_line(tmp_path: Path) -> None:
    page = "# Title\n\n```python\nprint('one')\nassert 1 == 2, 'no'\n```\n"
    with pytest.raises(running.BlockFailed, match=r"a page, line 3: .*no(?s:.*)one"):
        running.run_page(page, tmp_path, name="a page")
    for wrong in ("dynaip check nowhere/to-be-found", "false | true", "test -e missing"):
        with pytest.raises(running.BlockFailed, match="line 1"):
            running.run_page(f"```bash\n{wrong}\n```\n", tmp_path, name="a page")


def test_blocks_of_a_page_share_names_files_and_folder(tmp_path: Path) -> None:
    page = (
        "<!-- file: told.txt -->\n```text\nhello\n```\n```python\nx = open('told.txt').read()\n```\n"
        "<!-- not run: it would fail -->\n```python\n1 / 0\n```\n"
        "```python\nprint(x * 2)\n```\n```bash\ncat told.txt\n```\n"
    )
    printed = running.run_page(page, tmp_path, name="a page")
    assert [text.split() for _, text in printed] == [[], ["hello", "hello"], ["hello"]]


def test_marks_that_mean_nothing_are_found() -> None:
    assert blocks.complaints("<!-- not run -->\n```bash\nls\n```\n")
    assert blocks.complaints("<!-- slow -->\n\n```bash\nls\n```\n")
    assert blocks.complaints("<!-- slwo -->\n```bash\nls\n```\n")
    assert not blocks.complaints("<!-- slow -->\n```bash\nls\n```\n<!-- shows: a.png | what -->\n")
    assert not blocks.complaints("<!-- table: one -->\n| a |\n| --- |\n<!-- end of table -->\n")
    assert blocks.complaints("<!-- table: one -->\n| a |\n\n<!-- end of table -->\n")


def test_bars_in_the_code_of_cells_are_shown_without_their_backslash() -> None:
    written = "| `a\\|b` | c \\| d |\n\n`a\\|b`\n"
    assert tables.plain_bars(written) == "| `a|b` | c \\| d |\n\n`a\\|b`\n"


def test_generated_pages_have_every_command_component_and_key() -> None:
    from dynaip.cli.app import build
    from dynaip.config import TrainingConfig, recipes
    from dynaip.registry import registry

    made = {address: make() for address, make in generated.PAGES.items()}
    for name in (command.name or command.callback.__name__ for command in build().registered_commands):
        assert f"## dynaip {name}\n" in made["reference/commands.md"]
    assert "`--granularity LEVEL=VALUE`" in made["reference/commands.md"]
    for entry in registry().components():
        assert f"### {entry.component.kind}: {entry.component.name}\n" in made["reference/components.md"]
    assert all(f"| `{key}` |" in made["reference/options.md"] for key in TrainingConfig.model_fields)
    assert all(f"## {name}\n" in made["reference/recipes.md"] for name in recipes())
