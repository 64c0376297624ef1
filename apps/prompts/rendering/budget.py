"""What one Jinja2 rendering may still do."""

import time
from contextvars import ContextVar
from typing import Any

from apps.prompts.rendering.errors import RenderError
from apps.prompts.rendering.limits import (
    MAX_CALL_DEPTH,
    MAX_ITERATIONS,
    MAX_SECONDS,
    MAX_STEPS,
    MAX_VALUE_SIZE,
    MAX_WORK_CHARS,
)
from apps.prompts.rendering.values import measure


class Budget:
    __slots__ = ("chars", "deadline", "depth", "iterations", "steps")

    def __init__(self) -> None:
        self.chars = MAX_WORK_CHARS
        self.steps = MAX_STEPS
        self.iterations = MAX_ITERATIONS
        self.depth = 0
        self.deadline = time.monotonic() + MAX_SECONDS

    def step(self, chars: int = 0) -> None:
        """Pay for one operation that makes `chars` characters; call it before making them."""
        self.steps -= 1
        self.chars -= chars
        if self.steps < 0 or self.chars < 0:
            raise RenderError("The template does too much work.")
        if time.monotonic() > self.deadline:
            raise RenderError(f"The template takes longer than {MAX_SECONDS:g} seconds.")

    def iterate(self) -> None:
        """Pay for one loop iteration."""
        self.iterations -= 1
        if self.iterations < 0:
            raise RenderError(f"The loops of the template go over {MAX_ITERATIONS} iterations in all.")
        self.step()

    def enter(self) -> None:
        """Go one macro call deeper."""
        self.depth += 1
        if self.depth > MAX_CALL_DEPTH:
            raise RenderError(f"Macros call each other deeper than {MAX_CALL_DEPTH} levels.")
        self.step()

    def keep(self, value: Any) -> Any:
        """Pay for a value that was made, and answer it."""
        if isinstance(value, bool | float | None):
            self.step()
        else:
            self.step(measure(value, MAX_VALUE_SIZE))
        return value


current_budget: ContextVar[Budget] = ContextVar("current_budget")
