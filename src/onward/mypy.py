"""A plugin for mypy that says in one line what does not fit in a chain.

Add it to mypy's configuration. Without it, mypy refuses the same programs in its own words.

    [tool.mypy]
    plugins = ["onward.mypy"]
"""

from __future__ import annotations

from collections.abc import Callable

import mypy.types  # noqa: F401  # pyright: ignore[reportUnusedImport]  # first: they import in a circle
from mypy.expandtype import expand_type_by_instance
from mypy.maptype import map_instance_to_supertype
from mypy.messages import format_type
from mypy.nodes import ArgKind, CallExpr, Expression, MemberExpr, NameExpr, OpExpr
from mypy.plugin import MethodSigContext, Plugin
from mypy.subtypes import is_subtype
from mypy.typeops import bind_self
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    ProperType,
    Type,
    TypeOfAny,
    UninhabitedType,
    UnionType,
    get_proper_type,
    has_type_vars,
)

_FLOWS = "onward.flows.flow"
_BY_POSITION = (ArgKind.ARG_POS, ArgKind.ARG_OPT, ArgKind.ARG_STAR)
_REQUIRED = (ArgKind.ARG_POS, ArgKind.ARG_NAMED)


class OnwardPlugin(Plugin):
    """Checks `>>` and `rescue`."""

    def get_method_signature_hook(
        self, fullname: str
    ) -> Callable[[MethodSigContext], FunctionLike] | None:
        """See `mypy.plugin.Plugin`."""
        owner, _, method = fullname.rpartition(".")
        if owner.startswith(f"{_FLOWS}."):
            return {"__rshift__": _chained, "rescue": _rescued}.get(method)
        return None


def plugin(version: str) -> type[Plugin]:
    """The entry point of the plugin.

    Args:
        version: The version of mypy.
    """
    return OnwardPlugin


def _chained(context: MethodSigContext) -> FunctionLike:
    """The signature of `left >> right`; if the two do not fit, one that takes anything."""
    left, signature = get_proper_type(context.type), context.default_signature
    if not isinstance(left, Instance) or not _first(context):
        return signature
    flow = next((base for base in left.type.mro if base.fullname == f"{_FLOWS}.Flow"), None)
    if flow is None or left.type.fullname == f"{_FLOWS}.Identity":
        return signature
    given = map_instance_to_supertype(left, flow).args[1]
    side = context.context.left if isinstance(context.context, OpExpr) else None
    problem = _misfit(context, given, _name_of(side, "the left side"), context.args[0][0])
    return signature if problem is None else _refused(context, problem, returns_any=True)


def _rescued(context: MethodSigContext) -> FunctionLike:
    """The signature of `flow.rescue(handler)`; if the handler forgets an error, it says which."""
    signature = context.default_signature
    handler = _first(context)
    if handler is None or not signature.arg_types:
        return signature
    call = context.context
    if "with_input" in signature.arg_names or (
        isinstance(call, CallExpr) and "with_input" in call.arg_names
    ):
        return signature  # of a handler that takes a pair, mypy says itself what is wrong
    called = _called(get_proper_type(context.api.get_expression_type(handler)))
    step = get_proper_type(signature.arg_types[0])
    if called is None or not called.arg_types or not isinstance(step, Instance):
        return signature
    wanted = get_proper_type(step.args[0])
    members: list[Type] = wanted.items if isinstance(wanted, UnionType) else [wanted]
    if any(map(_is_open, members)):
        return signature
    missed = [each for each in members if not is_subtype(each, called.arg_types[0])]
    if not missed:
        return signature
    what = ", ".join(_shown(context, each) for each in missed)
    name = _name_of(handler, "the handler")
    return _refused(context, f"{name} does not take {what}, which the flow may fail with")


def _misfit(context: MethodSigContext, given: Type, left: str, right: Expression) -> str | None:
    """What is wrong with what stands to the right of a value's flow, if this can tell."""
    found = get_proper_type(context.api.get_expression_type(right))
    name = _name_of(right, "the right side")
    if isinstance(found, FunctionLike):
        return f"{name} is a plain function: put @task on it"
    if isinstance(found, Instance) and found.type.fullname == f"{_FLOWS}.Call":
        return f"{name} is a call, and a chain takes the flow itself: leave out its arguments"
    called = _called(found)
    if called is None:
        return None
    places = range(len(called.arg_kinds))
    first = next((at for at in places if called.arg_kinds[at] in _BY_POSITION), None)
    if first is None:
        return f"{name} takes no value by position, and {left} gives one"
    takes = called.arg_types[first]
    if _is_open(takes) or _is_open(given):
        return None  # mypy's own inference decides
    problems: list[str] = []
    if not is_subtype(given, takes):
        gives = _shown(context, given)
        problems.append(f"{name} takes {_shown(context, takes)}, and {left} gives {gives}")
    more = [at for at in places if called.arg_kinds[at] in _REQUIRED and at != first]
    if more:
        others = ", ".join(f"{called.arg_names[at] or '_'}=..." for at in more)
        problems.append(f"{name} takes more than one value: write given({name}, {others})")
    return "; ".join(problems) or None


def _called(found: ProperType) -> CallableType | None:
    """The signature of a flow's `__call__`."""
    if not isinstance(found, Instance):
        return None
    method = found.type.get_method("__call__")
    if method is None or method.type is None:
        return None
    owner = map_instance_to_supertype(found, method.info)
    expanded = get_proper_type(expand_type_by_instance(method.type, owner))
    if not isinstance(expanded, FunctionLike):
        return None
    bound = bind_self(expanded, owner)
    return bound if isinstance(bound, CallableType) else None


def _refused(context: MethodSigContext, message: str, *, returns_any: bool = False) -> CallableType:
    """Reports a problem once: the signature that it gives takes anything."""
    context.api.fail(message, context.context)
    anything = AnyType(TypeOfAny.from_error)
    refused = context.default_signature.copy_modified(arg_types=[anything])
    return refused.copy_modified(ret_type=anything) if returns_any else refused


def _first(context: MethodSigContext) -> Expression | None:
    return context.args[0][0] if context.args and context.args[0] else None


def _is_open(of: Type) -> bool:
    """Whether a type has parts that mypy has not inferred yet."""
    proper = get_proper_type(of)
    inner = proper.args if isinstance(proper, Instance) else ()
    if isinstance(proper, UnionType):
        inner = tuple(proper.items)
    return has_type_vars(of) or isinstance(proper, UninhabitedType) or any(map(_is_open, inner))


def _name_of(expression: Expression | None, otherwise: str) -> str:
    match expression:
        case NameExpr() | MemberExpr():
            return expression.name
        case OpExpr(op=">>"):
            return _name_of(expression.right, otherwise)
        case CallExpr(callee=NameExpr() | MemberExpr() as called):
            return f"{called.name}(...)"
        case _:
            return otherwise


def _shown(context: MethodSigContext, of: Type) -> str:
    return format_type(of, context.api.options).replace('"', "")
