"""Checks that T-SQL files parse: check_tsql.py FILE...

Prints each line that does not and exits with 1. Neither GO nor $(NAME) is T-SQL: the parser knows GO, and a variable is
replaced by its own name first, which is a value within a string and a name outside of one.
"""

import re
import sys

from sqlfluff.core import FluffConfig, Linter

VARIABLE = re.compile(r"\$\((\w+)\)")


def problems(linter: Linter, text: str) -> list[tuple[int, str]]:
    parsed = linter.parse_string(VARIABLE.sub(r"\1", text))
    found = [(violation.line_no, violation.desc()) for violation in parsed.violations]
    if parsed.tree is None:
        return found or [(1, "cannot be parsed")]
    # docs/decisions/0007-no-merge.md
    for merge in parsed.tree.recursive_crawl("merge_statement"):
        found.append((merge.pos_marker.line_no, "MERGE is not used here, see docs/decisions/0007-no-merge.md"))
    # The parser takes arguments of EXEC without the comma or equals sign between them.
    for call in parsed.tree.recursive_crawl("execute_script_statement"):
        parts = [part for part in call.segments if part.is_code]
        for part, following in zip(parts, parts[1:]):
            if part.is_type("expression") and following.is_type("expression", "parameter"):
                found.append((following.pos_marker.line_no, f"'{part.raw}' and '{following.raw}' have nothing between them"))
    return found


def main(files: list[str]) -> int:
    linter = Linter(config=FluffConfig(overrides={"dialect": "tsql"}))
    failed = False
    for file in files:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
        for line, message in problems(linter, text):
            print(f"{file}:{line}: {message}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
