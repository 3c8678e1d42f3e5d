"""Takes annotations apart: aliases, type variables, unions, and the fields of records."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    Never,
    NewType,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typing_extensions
from typing_extensions import is_typeddict

from onward.codec.base import Annotation
from onward.codec.same import field_names

_TYPE_ALIAS = typing_extensions.TypeAliasType
_ALIASES: tuple[type, ...] = (_TYPE_ALIAS, getattr(typing, "TypeAliasType", _TYPE_ALIAS))
_PYDANTIC = ("pydantic", "pydantic_core")
_REQUIRED = (typing.Required, typing.NotRequired, typing_extensions.ReadOnly)


def is_alias(annotation: Annotation) -> bool:
    """Whether an annotation is a `type X = ...`, or `X[int]` of a generic one."""
    return isinstance(annotation, _ALIASES) or isinstance(get_origin(annotation), _ALIASES)


def unaliased(annotation: Annotation) -> Annotation:
    """The annotation that an alias stands for; raises TypeError if a name in it is undefined."""
    alias: Any = annotation if isinstance(annotation, _ALIASES) else get_origin(annotation)
    names = vars(sys.modules.get(alias.__module__ or "", types.ModuleType("")))
    local = {parameter.__name__: parameter for parameter in alias.__type_params__}
    holder = types.SimpleNamespace(__annotations__={"value": alias.__value__})
    try:
        value = get_type_hints(
            holder, names, {alias.__name__: alias, **local}, include_extras=True
        )["value"]
    except NameError as problem:
        where = f"{alias.__name__}: define it at the top of its module"
        raise TypeError(f"{problem}, in {where}") from None
    return substituted(value, dict(zip(alias.__type_params__, get_args(annotation), strict=False)))


def substituted(annotation: Annotation, given: Mapping[Any, Annotation]) -> Annotation:
    """An annotation with its type variables replaced by given annotations."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation, annotation)
    parameters: Any = getattr(annotation, "__parameters__", ())
    if not given or (isinstance(annotation, type) and get_origin(annotation) is None):
        return annotation
    if isinstance(parameters, tuple) and any(each in given for each in parameters):
        generic: Any = annotation
        return generic[tuple(given.get(each, each) for each in parameters)]
    return annotation


def bare(annotation: Annotation) -> Annotation:
    """An annotation without NewType, type variables and the metadata of `Annotated`."""
    while True:
        inner = peeled(annotation)
        if inner is annotation:
            return annotation
        annotation = inner


def peeled(annotation: Annotation) -> Annotation:
    """The annotation within a NewType, type variable or `Annotated`; otherwise the annotation."""
    if isinstance(annotation, NewType):
        return annotation.__supertype__
    if isinstance(annotation, TypeVar):
        return annotation.__bound__ or Any
    if get_origin(annotation) is Annotated or get_origin(annotation) in _REQUIRED:
        return get_args(annotation)[0]
    return annotation


def members(annotation: Annotation) -> tuple[Annotation, ...]:
    """The members of a union, nested unions included; otherwise the annotation alone."""
    if is_alias(annotation):
        inner = unaliased(annotation)
        return members(inner) if len(members(inner)) > 1 else (annotation,)
    origin = get_origin(annotation)
    if origin is Union or origin is types.UnionType:
        return tuple(
            dict.fromkeys(each for member in get_args(annotation) for each in members(member))
        )
    return () if annotation is Never or annotation is NoReturn else (annotation,)


def classes_of(member: Annotation) -> tuple[type, ...]:
    """The classes of the values of a union's member; raises TypeError if it has none."""
    inner = bare(unaliased(member) if is_alias(member) else member)
    if get_origin(inner) is Literal:
        return tuple({type(value): None for value in get_args(inner)})
    return (_class_of(inner),)


def _class_of(inner: Annotation) -> type:
    if inner is None:
        return type(None)
    kind = get_origin(inner) or inner
    if not isinstance(kind, type) or kind is Any or is_typeddict(kind):
        raise TypeError(
            f"{inner!r} has no class that tells its values from other types: use a dataclass, or "
            "with pydantic a model with Field(discriminator=...)"
        )
    return kind


def tag_of(member: Annotation) -> str:
    """The name of a union's member on the wire."""
    if get_origin(member) is Literal:
        return repr(member).removeprefix("typing.")
    if is_alias(member):
        alias: Any = get_origin(member) or member
        name, arguments = str(alias.__name__), get_args(member)
    else:
        name = _class_of(bare(member)).__qualname__.rpartition("<locals>.")[2]
        arguments = get_args(bare(member))
    if not arguments:
        return name
    shown = ", ".join("..." if each is Ellipsis else _named(each) for each in flat(arguments))
    return f"{name}[{shown}]"


def _named(argument: Any) -> str:
    try:
        return tag_of(argument)
    except TypeError:  # it has no class
        return str(getattr(argument, "__name__", argument))


def flat(arguments: tuple[Any, ...]) -> Iterator[Any]:
    """The members of arguments, unions flattened. An alias is one, because it may be recursive."""
    for each in arguments:
        is_union = get_origin(each) in (Union, types.UnionType)
        yield from flat(get_args(each)) if is_union else (each,)


def is_record(kind: Annotation) -> bool:
    """Whether a class, or a generic class with arguments, has fields."""
    cls = get_origin(kind) or kind
    return isinstance(cls, type) and (is_typeddict(cls) or field_names(cls) is not None)


def has_private_attributes(record: Annotation) -> bool:
    """Whether a record is an attrs class with fields like `_name`."""
    cls: Any = get_origin(record) or record
    own = getattr(cls, "__attrs_attrs__", ())
    return any(field.name.startswith("_") for field in own)


def field_types(record: Annotation) -> dict[str, Annotation]:
    """The fields of a record and their annotations, with type variables replaced."""
    cls: Any = get_origin(record) or record
    hints = get_type_hints(cls, include_extras=True)
    names = list(hints) if is_typeddict(cls) else list(field_names(cls) or ())
    given = _arguments_of(record)
    found: dict[str, Annotation] = {}
    for name in names:
        if name not in hints:
            raise TypeError(f"field {name!r} of {cls.__qualname__} has no annotation")
        hint = hints[name]
        while get_origin(hint) in _REQUIRED:
            hint = get_args(hint)[0]
        found[name] = substituted(hint, given)
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise TypeError(
                f"{name!r} of {cls.__qualname__} is an InitVar, whose value is not stored: make it "
                "a field"
            )
    return found


def needs_pydantic(annotation: Annotation) -> bool:
    """Whether pydantic must read a class, or the metadata of an `Annotated`."""
    if "pydantic" not in sys.modules:
        return False
    kind = annotation if isinstance(annotation, type) else type(annotation)
    if any(base.__module__.partition(".")[0] in _PYDANTIC for base in kind.__mro__):
        return True
    if "__pydantic_core_schema__" in getattr(annotation, "__dict__", ()):  # its dataclasses
        return True
    # The fields of a record decide, even if pydantic could read the record as well.
    return hasattr(annotation, "__get_pydantic_core_schema__") and field_names(kind) is None


def _arguments_of(record: Annotation) -> dict[Any, Annotation]:
    cls: Any = get_origin(record) or record
    given: dict[Any, Annotation] = dict(
        zip(getattr(cls, "__parameters__", ()), get_args(record), strict=False)
    )
    for base in getattr(cls, "__orig_bases__", ()):
        if is_record(base) and get_origin(base) is not None:
            inner = _arguments_of(base)
            given = {key: substituted(value, given) for key, value in inner.items()} | given
    return given
