"""Outlives the tests by a moment: when their end of the pipe closes, however they ended, the stack's processes die.

python -m tests.integrations.flower_stack.guard MARK
"""

from __future__ import annotations

import sys

from tests.integrations.flower_stack.processes import kill

if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill(sys.argv[1])
