"""A mapping: the YAML file that says which column of an input becomes what. Shape: docs/import.md.

Nothing here imports SQLAlchemy, so that `drumbeat validate` may read mappings too.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from drumbeat.clock import zone
from drumbeat.document import Document, Loc, read_document
from drumbeat.errors import ProjectError, UsageError
from drumbeat.ingest.convert import converter
from drumbeat.ingest.phones import region_of
from drumbeat.ingest.targets import TARGETS, Target
from drumbeat.ingest.targets import Field as TargetField
from drumbeat.issues import Issue, nearest

Format = Literal["csv", "jsonl", "parquet"]
Type = Literal["text", "integer", "amount", "instant", "date", "boolean", "email", "zone"]
Scalar = str | int | float | bool | None


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _column_name(value: Any) -> Any:
    """Let a bare name stand for `{column: name}`; a column may be called 2011."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return {"column": str(value)}
    return value


def _words(value: Any) -> Any:
    """Write the keys of `values:` as the text they are compared with."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


class Source(_Model):
    """Where a target's value comes from."""

    column: str | None = None
    type: Type | None = None
    format: str | None = Field(None, description="strptime format of a time or date; unix or unix_ms")
    default: Scalar = None
    required: bool = False
    constant: Scalar = None
    values: Annotated[dict[str, Scalar] | None, BeforeValidator(_words)] = None
    invalid: Literal["reject", "empty"] = Field(
        "reject",
        description="What becomes of a value that cannot be read: the row is rejected, or it is none",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Source:
        if (self.column is None) == (self.constant is None):
            raise ValueError("expected either a column or a constant")
        return self


class Kept(_Model):
    """A source column that is kept in the JSON document, under `name` or its own."""

    column: str
    name: str | None = None
    type: Literal["text", "integer", "amount", "instant", "date", "boolean"] | None = None
    format: str | None = None


class Condition(_Model):
    """A rule on one source column: exactly one of the tests."""

    column: str
    equals: Scalar = None
    in_: tuple[str | int | float, ...] | None = Field(None, alias="in")
    starts_with: str | None = None
    empty: bool | None = None
    at_most: Decimal | None = None

    @model_validator(mode="after")
    def _one_test(self) -> Condition:
        if sum(test is not None for test in self._tests()) != 1:
            raise ValueError("expected exactly one of equals, in, starts_with, empty, at_most")
        return self

    def _tests(self) -> tuple[Any, ...]:
        return (self.equals, self.in_, self.starts_with, self.empty, self.at_most)

    def holds(self, value: Any) -> bool:
        """Say whether the source's value meets the test. Text is compared without outer blanks."""
        word = "" if value is None else str(value).strip()
        if self.starts_with is not None:
            return word.startswith(self.starts_with)
        if self.empty is not None:
            return (word == "") is self.empty
        if self.in_ is not None:
            return word in {str(item) for item in self.in_}
        if self.at_most is not None:
            try:
                return Decimal(word) <= self.at_most
            except InvalidOperation:
                return False
        return word == str(self.equals)


class Skip(Condition):
    """Rows that are left out on purpose; they are counted by their reason."""

    reason: str = Field(min_length=1)


class Mapping(_Model):
    """A whole mapping file. `time_zone`: of times without offset; `country`: of phone numbers without a code of
    it, in rows that name none. The project's where not given."""

    into: str
    format: Format | None = None
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8-sig"
    time_zone: str
    country: str | None = None
    columns: dict[str, Annotated[Source, BeforeValidator(_column_name)]] = Field(min_length=1)
    attributes: tuple[Annotated[Kept, BeforeValidator(_column_name)], ...] = ()
    properties: tuple[Annotated[Kept, BeforeValidator(_column_name)], ...] = ()
    cancelled: Condition | None = None
    skip: tuple[Skip, ...] = ()
    no_product: tuple[str, ...] = Field((), description="Product codes that are fees, postage and the like")

    @property
    def target(self) -> Target:
        """Return what is imported."""
        return TARGETS[self.into]

    @property
    def kept(self) -> tuple[Kept, ...]:
        """Return the source columns that stay in the target's JSON document."""
        return self.attributes + self.properties


def read_mapping(path: Path, default_zone: str = "UTC", default_country: str | None = None) -> Mapping:
    """Read and check a mapping file. Raises ProjectError with every fault found, each with its place.

    `default_zone`: the time zone of times without offset where the file names none; `default_country`: the
    same for phone numbers.
    """
    return parse_mapping(read_document(path), default_zone, default_country)


def parse_mapping(
    document: Document, default_zone: str = "UTC", default_country: str | None = None
) -> Mapping:
    """Check a mapping that was read. Raises ProjectError."""
    if not isinstance(document.value, dict):
        raise ProjectError(
            [
                Issue(
                    document.place(),
                    "DB040",
                    "is not a mapping.",
                    "It begins with `into: customers` or the like.",
                )
            ]
        )
    try:
        mapping = Mapping.model_validate(
            {"time_zone": default_zone, "country": default_country, **document.value}
        )
    except ValidationError as error:
        raise ProjectError(sorted(set(_faults(error, document)))) from None
    issues = list(_check(mapping, document))
    if issues:
        raise ProjectError(sorted(issues))
    return mapping


_MODELS: dict[str, type[BaseModel]] = {
    "columns": Source,
    "attributes": Kept,
    "properties": Kept,
    "cancelled": Condition,
    "skip": Skip,
}


def _faults(error: ValidationError, document: Document) -> list[Issue]:
    found = []
    for fault in error.errors():
        loc: Loc = fault["loc"]
        kind, name = fault["type"], str(loc[-1]) if loc else ""
        if kind == "extra_forbidden":
            model = _MODELS[str(loc[0])] if len(loc) > 1 else Mapping
            known = [field.alias or key for key, field in model.model_fields.items()]
            found.append(Issue(document.place(loc), "DB041", f"unknown key '{name}'.", nearest(name, known)))
        elif kind == "missing":
            found.append(Issue(document.place(loc), "DB042", f"the key '{name}' is missing."))
        else:
            what = ".".join(map(str, loc)) or "the file"
            message = str(fault["msg"]).removeprefix("Value error, ")
            shown = "" if kind == "value_error" else f"Found {fault['input']!r}."
            found.append(Issue(document.value_place(loc), "DB040", f"{what}: {message}.", shown))
    return found


def _check(mapping: Mapping, document: Document) -> list[Issue]:
    """Return what pydantic cannot see: names that do not exist, and settings that do not fit the target."""
    found: list[Issue] = []

    def fault(code: str, loc: Loc, message: str, fix: str = "", *, key: bool = False) -> None:
        found.append(Issue(document.place(loc) if key else document.value_place(loc), code, message, fix))

    try:
        zone(mapping.time_zone)
    except UsageError as error:
        fault("DB045", ("time_zone",), f"{error}.")
        return found
    try:
        "".encode(mapping.encoding)
    except LookupError:
        fault(
            "DB045", ("encoding",), f"unknown encoding '{mapping.encoding}'.", "For example utf-8 or cp1252."
        )
    if "country" in document.value and region_of(mapping.country) is None:
        fault("DB044", ("country",), f"unknown country '{mapping.country}'.", "For example GB or Germany.")
    if mapping.into not in TARGETS:
        fault("DB043", ("into",), f"cannot import into '{mapping.into}'.", nearest(mapping.into, TARGETS))
        return found
    target = mapping.target
    fields = {field.name: field for field in target.fields}
    for name, source in mapping.columns.items():
        if name not in fields:
            fault(
                "DB043",
                ("columns", name),
                f"{mapping.into} have no '{name}'.",
                nearest(name, fields),
                key=True,
            )
        else:
            found += _check_source(mapping, fields[name], source, document)
    missing = [f.name for f in target.fields if f.required and f.name not in mapping.columns]
    for name in missing:
        fault("DB042", ("columns",), f"{mapping.into} need '{name}' under columns.", key=True)
    for key in ("attributes", "properties"):
        if getattr(mapping, key) and target.document != key:
            fix = f"Name them under {target.document}." if target.document else "Remove the list."
            fault("DB044", (key,), f"{mapping.into} keep no {key}.", fix, key=True)
    if mapping.cancelled is not None and mapping.into not in ("orders", "order_lines"):
        fault("DB044", ("cancelled",), f"{mapping.into} cannot be cancelled.", "Remove the rule.", key=True)
    if mapping.cancelled is not None and "status" in mapping.columns:
        fault(
            "DB044", ("cancelled",), "status is given by a column already.", "Keep one of the two.", key=True
        )
    if mapping.no_product and mapping.into != "order_lines":
        fault("DB044", ("no_product",), f"{mapping.into} make no products.", "Remove the list.", key=True)
    return found


def _check_source(mapping: Mapping, field: TargetField, source: Source, document: Document) -> list[Issue]:
    """Check one column: its type fits, and every value written in the mapping can be converted."""
    loc: Loc = ("columns", field.name)
    fits = (field.kind, "integer") if field.kind == "text" else (field.kind,)
    if source.type is not None and source.type not in fits:
        message = f"{field.name} is of type {field.kind}, not {source.type}."
        return [
            Issue(document.value_place((*loc, "type")), "DB044", message, f"Expected {' or '.join(fits)}.")
        ]
    if source.format is not None and field.kind not in ("instant", "date"):
        message = f"{field.name} is no time or date and takes no format."
        return [Issue(document.place((*loc, "format")), "DB044", message, "Remove it.")]
    convert = converter(field.kind, as_type=None, zone_name=mapping.time_zone, pattern=None)
    given: list[tuple[Loc, Any]] = [
        ((*loc, "default"), source.default),
        ((*loc, "constant"), source.constant),
    ]
    given += [((*loc, "values", key), value) for key, value in (source.values or {}).items()]
    found = []
    for place, value in given:
        if value is None:
            continue
        try:
            converted = convert(value)
            if field.one_of and converted not in field.one_of:
                raise ValueError(f"{value!r} is not one of {', '.join(field.one_of)}")
        except ValueError as error:
            found.append(Issue(document.value_place(place), "DB044", f"{field.name}: {error}."))
    return found
