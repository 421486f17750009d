"""What is changed and what is left alone, on a few lines."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.mutants.mutations import mutants_of, planted

CODE = '''"""A text."""
LIMIT: int = 7


class Kept:
    def check(self, items: list[int], name: str = "x") -> bool:
        """Another text."""
        if len(items) > LIMIT:
            raise RemoteProtocolError("W7", f"{len(items)} are too many")
        self.seen = name
        return all(item and not self.told for item in items)

    def __repr__(self) -> str:
        return "Kept(3)"
'''
ERROR = "RemoteProtocolError('{}', f'{{len(items)}} are too many')"
RETURNED = "return all((item and (not self.told) for item in items))"


def test_the_changes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.py"
    path.write_text(CODE)
    found = mutants_of(path)
    assert [(mutant.lines[0], mutant.function, mutant.change) for mutant in found] == [
        (2, "", "7 → 8"),
        (2, "", "7 → 6"),
        (6, "", "'x' → 'xX'"),
        (8, "Kept.check", "if len(items) > LIMIT → if not len(items) > LIMIT"),
        (8, "Kept.check", "len(items) > LIMIT → len(items) >= LIMIT"),
        (9, "Kept.check", "raise RemoteProtocolError('W7', f'{len(items)} are too many') → pass"),
        (9, "Kept.check", ERROR.format("W7") + " → " + ERROR.format("W7X")),
        (10, "Kept.check", "self.seen = name → pass"),
        (11, "Kept.check", RETURNED + " → return None"),
        (11, "Kept.check", "item and (not self.told) → item or not self.told"),
        (11, "Kept.check", "not self.told → self.told"),
    ]
    texts = {ast.unparse(planted(mutant)) for mutant in found}
    assert len(texts) == len(found)
    assert ast.unparse(ast.parse(CODE)) not in texts
    for text in texts:
        compile(text, "kept.py", "exec")
