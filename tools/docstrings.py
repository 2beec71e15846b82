"""Write the comments that describe parameters into the docstrings, where `help` and editors show them.

setup.py does this to the modules of a wheel. The notebooks, and the modules in a checkout, have the comments alone.
"""
import ast
import inspect
import io
import textwrap
import tokenize


def comments_of(source: str) -> dict:
    "Line number -> the comment at its end."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def sections_of(node: ast.AST, comments: dict) -> str:
    "What a function takes and returns, or a class's fields, as sections of a docstring; empty if nothing says so."
    fields, returned = {}, None
    if isinstance(node, ast.ClassDef):
        heading = "Attributes"
        parameters = [(each.target.id, each.lineno) for each in node.body if isinstance(each, ast.AnnAssign)]
    else:
        heading, given = "Args", node.args
        stars = [each for each in (given.vararg, given.kwarg) if each]
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *stars]
        parameters = [(each.arg, each.lineno) for each in every if each.lineno > node.lineno]
        last = max((line for _, line in parameters), default=node.lineno)
        returned = next((comments[line] for line in range(last + 1, node.body[0].lineno) if line in comments), None)
    for name, line in parameters:
        if line in comments: fields[name] = comments[line]
    sections = [f"{heading}:\n" + "\n".join(f"    {name}: {text}" for name, text in fields.items())] if fields else []
    if returned: sections.append(f"Returns:\n    {returned}")
    return "\n\n".join(sections)


def describe(source: str) -> str:
    "The module with fuller docstrings; nothing else changes."
    comments, lines, edits = comments_of(source), source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)): continue
        sections, doc, first = sections_of(node, comments), ast.get_docstring(node, clean=False), node.body[0]
        if not sections or first.lineno == node.lineno: continue
        text = "\n\n".join([inspect.cleandoc(doc), sections]) if doc else sections
        text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        literal = textwrap.indent(f'"""{text}\n"""', " " * first.col_offset)
        edits.append((first.lineno - 1, first.end_lineno if doc else first.lineno - 1, literal.splitlines()))
    for begin, end, literal in sorted(edits, reverse=True): lines[begin:end] = literal
    return "\n".join(lines) + "\n"
