"""The `jinja2` format: parsed, checked against a list of what is allowed, rewritten so that work is paid, compiled.

No includes, imports, inheritance, assignments to namespaces or call blocks. `str.format`, `|attr`, `|safe`, `|random`
and everything that needs a regular expression are absent.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import Template, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.exceptions import TemplateError as StockTemplateError
from jinja2.visitor import NodeTransformer

from apps.prompts.rendering.budget import Budget, current_budget
from apps.prompts.rendering.errors import PromptError, RenderError, TemplateError
from apps.prompts.rendering.filters import FILTERS, TESTS
from apps.prompts.rendering.limits import (
    MAX_BLOCK_DEPTH,
    MAX_NODE_DEPTH,
    MAX_OUTPUT_CHARS,
    MAX_TEMPLATE_CHARS,
    MAX_VARIABLES,
)
from apps.prompts.rendering.sandbox import PromptEnvironment
from apps.prompts.rendering.values import UNSTORABLE

ALLOWED = frozenset(
    [
        "Add",
        "And",
        "Assign",
        "AssignBlock",
        "Call",
        "Compare",
        "Concat",
        "CondExpr",
        "Const",
        "Dict",
        "Div",
        "Filter",
        "FilterBlock",
        "FloorDiv",
        "For",
        "Getattr",
        "Getitem",
        "If",
        "Keyword",
        "List",
        "Macro",
        "Mod",
        "Mul",
        "Name",
        "Neg",
        "Not",
        "Operand",
        "Or",
        "Output",
        "Pair",
        "Pos",
        "Pow",
        "Slice",
        "Sub",
        "Template",
        "TemplateData",
        "Test",
        "Tuple",
        "With",
    ]
)
FORBIDDEN_NAMES = frozenset({"self", "caller"})
BLOCKS = (nodes.For, nodes.If, nodes.Macro, nodes.With, nodes.AssignBlock, nodes.FilterBlock)

environment = PromptEnvironment()


@dataclass(frozen=True, slots=True)
class JinjaTemplate:
    template: Template
    names: tuple[str, ...]
    required: frozenset[str]

    def missing(self, values: dict[str, Any]) -> dict[str, str]:
        """Reasons by name for every required variable that `values` does not have."""
        return {name: "This variable is missing." for name in self.names if name in self.required - values.keys()}

    def render(self, values: dict[str, Any]) -> str:
        """Run the template; raises RenderError for whatever goes wrong in it."""
        token = current_budget.set(Budget())
        try:
            return self._run(values)
        except PromptError:
            raise
        except Exception as error:
            raise RenderError(f"The template failed: {_reason(error)}.") from error
        finally:
            current_budget.reset(token)

    def _run(self, values: dict[str, Any]) -> str:
        context = self.template.new_context({name: values[name] for name in self.names if name in values})
        texts: list[str] = []
        left = MAX_OUTPUT_CHARS
        for text in self.template.root_render_func(context):
            left -= len(text)
            if left < 0:
                raise RenderError(f"The rendered text is longer than {MAX_OUTPUT_CHARS} characters.")
            texts.append(text)
        rendered = "".join(texts)
        # Literals of a template may name them by their escapes.
        if UNSTORABLE.search(rendered):
            raise RenderError("The rendered text has NUL characters or lone surrogates.")
        return rendered


@lru_cache(maxsize=512)
def compile_jinja(source: str) -> JinjaTemplate:
    """Parse, check and compile a template; raises TemplateError with the line when it is known."""
    if len(source) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"The template is longer than {MAX_TEMPLATE_CHARS} characters.")
    try:
        return _compile(source)
    except PromptError:
        raise
    except TemplateSyntaxError as error:
        raise TemplateError(f"Line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise TemplateError("The template is nested too deeply.") from error
    except Exception as error:
        raise TemplateError(f"The template does not parse: {_reason(error)}.") from error


def _compile(source: str) -> JinjaTemplate:
    tree = environment.parse(source)
    _check(tree)
    names = _names(tree)
    if len(names) > MAX_VARIABLES:
        raise TemplateError(f"The template has more than {MAX_VARIABLES} variables.")
    required = frozenset(names) - _tolerated(tree)
    hardened = cast("nodes.Template", Hardener().visit(tree))
    hardened.set_environment(environment)
    code = environment.compile(hardened)
    return JinjaTemplate(Template.from_code(environment, code, environment.globals), names, required)


def _reason(error: Exception) -> str:
    if isinstance(error, UndefinedError | StockTemplateError):
        return (error.message or "undefined").rstrip(".")
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return (str(error) or type(error).__name__).rstrip(".")[:300]


def _check(tree: nodes.Template) -> None:
    stack: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    while stack:
        node, depth, blocks = stack.pop()
        blocks += isinstance(node, BLOCKS)
        if depth > MAX_NODE_DEPTH or blocks > MAX_BLOCK_DEPTH:
            raise TemplateError(f"Line {node.lineno}: the template is nested too deeply.")
        problem = _problem(node)
        if problem is not None:
            raise TemplateError(f"Line {node.lineno}: {problem}")
        stack.extend((child, depth + 1, blocks) for child in node.iter_child_nodes())


def _problem(node: nodes.Node) -> str | None:
    if type(node).__name__ not in ALLOWED:
        return f"{type(node).__name__.lower()} is not allowed."
    if isinstance(node, nodes.For) and node.recursive:
        return "recursive loops are not allowed."
    if isinstance(node, nodes.Name) and node.name in FORBIDDEN_NAMES:
        return f"the name {node.name} is reserved."
    if isinstance(node, nodes.Filter | nodes.Test):
        known: Collection[str] = FILTERS if isinstance(node, nodes.Filter) else TESTS
        if node.name not in known:
            return f"there is no {type(node).__name__.lower()} named {node.name}."
    if isinstance(node, nodes.Call | nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
        return "arguments cannot be unpacked with * or **."
    return None


def _names(tree: nodes.Template) -> tuple[str, ...]:
    undeclared = meta.find_undeclared_variables(tree)
    ordered = [node.name for node in tree.find_all(nodes.Name) if node.name in undeclared]
    return tuple(dict.fromkeys(ordered))


def _tolerated(tree: nodes.Template) -> frozenset[str]:
    """Names that the template itself asks about: `|default`, `is defined`, `is undefined`."""
    return frozenset(node.node.name for node in _questions(tree) if isinstance(node.node, nodes.Name))


def _questions(tree: nodes.Template) -> Iterator[nodes.Filter | nodes.Test]:
    yield from (node for node in tree.find_all(nodes.Filter) if node.name in {"default", "d"})
    yield from (node for node in tree.find_all(nodes.Test) if node.name in {"defined", "undefined"})


def paths_of(source: str) -> list[tuple[str, bool]]:
    """What a template that compiles reads of its variables: each dotted path once, and whether it may be missing.

    A path ends where its next step is not written out: of `a.b[name].c` it is `a.b`.
    """
    tree = environment.parse(source)
    undeclared = meta.find_undeclared_variables(tree)
    asked = {id(question.node) for question in _questions(tree)}
    found: dict[str, bool] = {}
    stack: list[nodes.Node] = [tree]
    while stack:
        node = stack.pop()
        steps = _steps(node)
        if steps and steps[0] in undeclared:
            path = ".".join(steps)
            found[path] = found.get(path, True) and id(node) in asked
        elif not steps:
            stack.extend(reversed(list(node.iter_child_nodes())))
    return list(found.items())


def _steps(node: nodes.Node) -> list[str]:
    """Of `a.b["c"][0]`: a, b, c and 0; none for anything else."""
    steps: list[str] = []
    while True:
        if isinstance(node, nodes.Name):
            return [node.name, *reversed(steps)]
        if isinstance(node, nodes.Getattr):
            steps.append(node.attr)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            steps.append(str(node.arg.value))
        else:
            return []
        node = node.node


class Hardener(NodeTransformer):
    """Rewrites a tree so that what plain Python would do for free goes through the budget."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 (the visitor's naming)
        self.generic_visit(node)
        node.iter = _filtered(cast("nodes.Expr", node.iter), "!iterate")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "!concatenate")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "!keep")

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "!keep")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "!keep")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "!keep") if node.ctx == "load" else node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Expr:  # noqa: N802
        return nodes.Const(node.data, lineno=node.lineno)


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
