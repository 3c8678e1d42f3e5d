"""Codecs: they write values as JSON and read them back, by their annotations."""

from __future__ import annotations

from onward.codec.base import Annotation, Codec, Find, Refused
from onward.codec.build import codec, element, error_codec
from onward.codec.plain import Plain
from onward.codec.same import is_model
from onward.codec.tags import decode_fault, encode_fault, marked, read_tag
from onward.codec.unions import Tagged

__all__ = [
    "Annotation",
    "Codec",
    "Find",
    "Plain",
    "Refused",
    "Tagged",
    "codec",
    "decode_fault",
    "element",
    "encode_fault",
    "error_codec",
    "is_model",
    "marked",
    "read_tag",
]
