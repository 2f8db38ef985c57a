"""Registries of named components, their specs, and the checks of what users give as options."""

from flowprior.registry.options import (
    Record,
    Spec,
    check_count,
    check_counts,
    check_numbers,
    check_option_types,
    choose,
    did_you_mean,
    expected_by,
    is_number,
    is_whole,
    listed_names,
    option_meanings,
    parse_spec,
    parse_value,
    plain,
)
from flowprior.registry.plugins import is_foreign, load_point, package_version, points_of
from flowprior.registry.registry import Registered, Registry, spec_of

__all__ = [
    "Record",
    "Registered",
    "Registry",
    "Spec",
    "check_count",
    "check_counts",
    "check_numbers",
    "check_option_types",
    "choose",
    "did_you_mean",
    "expected_by",
    "is_foreign",
    "is_number",
    "is_whole",
    "listed_names",
    "load_point",
    "option_meanings",
    "package_version",
    "parse_spec",
    "parse_value",
    "plain",
    "points_of",
    "spec_of",
]
