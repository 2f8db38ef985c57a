"""Names, options, spec strings and plug-ins of the registry."""

from __future__ import annotations

import abc
import warnings
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowprior.couplings import Coupling
from flowprior.errors import InputError, OptionError, UnknownComponentError
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry, Spec, plugins
from flowprior.registry import registry as registry_module
from flowprior.registry.options import Record, listed_names, parse_value
from flowprior.registry.registry import changed_options, spec_of
from flowprior.samplers import Sampler


class Shape:
    """Base of the shapes."""


@pytest.fixture
def shapes() -> Registry[Shape]:
    """A registry with a class, a class with a required option, and a function."""
    shapes: Registry[Shape] = Registry("shape")

    @shapes.register("circle", aliases=("disc", "round-one"))
    class Circle(Shape):
        """A circle.

        With more to say about it.
        """

        def __init__(self, radius: float = 1.0, *, colour: str = "red") -> None:
            if radius < 0:
                raise ValueError("radius must not be negative")
            if colour == "grey":
                raise InputError("shape: no greys")
            self.radius = radius
            self.colour = colour

    @shapes.register("polygon")
    class Polygon(Shape):
        """A polygon."""

        def __init__(self, corners: int, **rest: int) -> None:
            self.corners = corners

    @shapes.register("unit-square")
    def square() -> Shape:
        """A square with sides of one."""
        return shapes.create("polygon", corners=4)

    return shapes


def test_create_builds_with_options_and_by_alias(shapes):
    circle = shapes.create("circle", radius=2.0, colour="blue")
    assert (circle.radius, circle.colour) == (2.0, "blue")
    assert type(shapes.create("disc")) is type(circle)
    assert shapes.create("unit-square").corners == 4


def test_available_lists_names_sorted_and_matches_patterns(shapes):
    assert shapes.available() == ["circle", "polygon", "unit-square"]
    assert shapes.available("*o*") == ["polygon"]
    assert shapes.available("disc") == [], "aliases are not listed a second time"


def test_record_reads_description_and_options_from_the_signature(shapes):
    record = shapes.record("disc")
    assert isinstance(record, Record)
    assert record.name == "circle"
    assert record.description == "A circle."
    assert dict(record.options) == {"radius": 1.0, "colour": "red"}
    assert record.aliases == ("disc", "round-one")
    assert list(shapes.record("polygon").options) == ["corners"], "**rest is no option by name"
    assert [r.name for r in shapes.records()] == ["circle", "polygon", "unit-square"]


@pytest.mark.parametrize("taken", ["circle", "disc"])
def test_taken_names_are_refused_and_nothing_is_half_registered(shapes, taken):
    with pytest.raises(OptionError, match=f"shape '{taken}' is registered already"):
        shapes.register("ring", aliases=(taken,))(Shape)
    with pytest.raises(OptionError, match=f"shape '{taken}' is registered already"):
        shapes.register(taken)(Shape)
    assert "ring" not in shapes.available()


@pytest.mark.parametrize(
    ("wrong", "suggestion"), [("cirle", "circle"), ("polygn", "polygon"), ("round_one", "round-one")]
)
def test_unknown_name_answers_with_the_nearest_and_the_known(shapes, wrong, suggestion):
    with pytest.raises(UnknownComponentError) as caught:
        shapes.create(wrong)
    assert str(caught.value) == (
        f"unknown shape '{wrong}'; did you mean '{suggestion}'? known: circle, polygon, unit-square"
    )


def test_unknown_option_names_the_nearest_and_all(shapes):
    with pytest.raises(OptionError) as caught:
        shapes.create("circle", radios=2)
    assert str(caught.value) == (
        "shape 'circle' has no option 'radios'; did you mean 'radius'? options: radius, colour"
    )
    with pytest.raises(OptionError, match=r"has no option 'size'; options: none$"):
        shapes.create("unit-square", size=2)


@pytest.mark.parametrize("kernel", [np.ones(3), torch.ones(3)])
def test_an_option_may_be_an_array(shapes, kernel):
    @shapes.register("smooth")
    class Smooth(Shape):
        """A shape with an array for a default."""

        def __init__(self, edge: object, kernel: object = kernel) -> None:
            self.edge, self.kernel = edge, kernel

    built = shapes.create("smooth", edge=kernel + 1)
    assert built.kernel is kernel
    assert changed_options(built, shapes.record("smooth").options).keys() == {"edge"}
    with pytest.raises(OptionError, match=r"needs edge; write smooth:edge=…$"):
        shapes.create("smooth")


def test_what_a_constructor_refuses_becomes_one_option_error(shapes):
    with pytest.raises(OptionError, match=r"^shape 'polygon' needs corners; write polygon:corners=…$"):
        shapes.create("polygon")
    with pytest.raises(OptionError, match="cannot be built: radius must not be negative"):
        shapes.create("circle", radius=-1)
    with pytest.raises(InputError, match="no greys"):
        shapes.create("circle", colour="grey")


def test_parse_reads_literals_booleans_and_text(shapes):
    spec = shapes.parse(" gmm : components=8, covariance=lowrank,reg-covar=1e-6,full=true,seed=None,k=-2 ")
    assert spec.name == "gmm"
    assert spec.options == {
        "components": 8,
        "covariance": "lowrank",
        "reg_covar": 1e-6,
        "full": True,
        "seed": None,
        "k": -2,
    }
    assert shapes.parse("gmm") == Spec("gmm", {})
    assert shapes.parse("folder:path=/data/a:b") == Spec("folder", {"path": "/data/a:b"})


def test_parse_refuses_a_part_that_is_no_pair(shapes):
    with pytest.raises(OptionError, match="expected key=value, got '8'; write gmm:key=value"):
        shapes.parse("gmm:8")


WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    WORDS,
    st.sampled_from(["8", "None", "true", "0.5", "1e3"]),
)


@given(WORDS, st.dictionaries(WORDS, VALUES, max_size=4))
def test_a_spec_written_as_text_is_read_back_the_same(name, options):
    spec = Spec(name, options)
    read = Registry("shape").parse(str(spec))
    assert read == spec
    assert [type(v) for v in read.options.values()] == [type(v) for v in options.values()]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ["a", "b"]),
        ("T cell, CD4, alpha,B cell", ["T cell, CD4, alpha", "B cell"]),
        ("T cell, CD4,B cell", ["T cell, CD4", "B cell"]),
        (" T cell ,B cell", ["T cell", "B cell"]),
        (" B cell, edge ,", [" B cell", "edge", ""]),
        ("B cell", ["B cell"]),
    ],
)
def test_pieces_that_make_a_known_name_are_one(text, names):
    assert listed_names(text, ["T cell", "T cell, CD4", "T cell, CD4, alpha", " B cell"]) == names


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("False", False), ("abc", "abc"), ("", "")])
def test_parse_value(text, value):
    assert parse_value(text) == value


def test_create_takes_a_spec_and_further_options(shapes):
    circle = shapes.create("disc:radius=2", colour="blue")
    assert (circle.radius, circle.colour) == (2, "blue")
    with pytest.raises(OptionError, match="option 'radius' is given twice; give it once"):
        shapes.create("disc:radius=2", radius=3)


def test_an_option_has_other_names_which_specs_and_calls_may_use(shapes):
    @shapes.register("ellipse", option_aliases={"radius": "width", "size": "width"})
    class Ellipse(Shape):
        """An ellipse."""

        def __init__(self, width: float = 1.0) -> None:
            self.width = width

    assert shapes.resolve("ellipse:radius=2").width == shapes.create("ellipse", size=2).width == 2
    assert list(shapes.record("ellipse").options) == ["width"]
    assert spec_of(shapes, Ellipse(3.0)) == "ellipse:width=3.0"
    with pytest.raises(OptionError, match="option 'width' is given twice; give it once"):
        shapes.create("ellipse:radius=2", width=3)
    with pytest.raises(OptionError, match=r"no option 'radus'; did you mean 'radius'\? options: width"):
        shapes.create("ellipse:radus=2")


def test_resolve_takes_names_specs_and_instances(shapes):
    circle = shapes.resolve("circle:radius=3")
    assert circle.radius == 3
    assert shapes.resolve(Spec("circle", {"colour": "blue"})).colour == "blue"
    assert shapes.resolve(circle) is circle


# -- plug-ins, by a fake entry point (tests/test_plugin.py installs a real one) ---------------------


class FakePoint:
    """An entry point whose load() returns ``loaded`` or raises it."""

    value = "package.module:thing"

    def __init__(self, name: str, loaded: object) -> None:
        self.name = name
        self.loaded = loaded
        self.loads = 0

    def load(self) -> object:
        self.loads += 1
        if isinstance(self.loaded, BaseException):
            raise self.loaded
        return self.loaded


@pytest.fixture
def plugged(monkeypatch):
    """A registry with the entry points given to it."""

    def build(*points: FakePoint) -> Registry:
        monkeypatch.setattr(
            registry_module, "points_of", lambda group: points if group == "test.shapes" else ()
        )
        return Registry("shape", "test.shapes")

    return build


def test_plugins_load_once_and_only_when_needed(plugged):
    other, point = FakePoint("other", Shape), FakePoint("ring", Shape)
    registry = plugged(other, point)
    registry.register("own")(Shape)
    registry.create("own")
    assert (other.loads, point.loads) == (0, 0), "a known name needs no plug-in"
    assert isinstance(registry.create("ring"), Shape)
    assert (other.loads, point.loads) == (0, 1)
    assert registry.available() == ["other", "own", "ring"]
    assert (other.loads, point.loads) == (1, 1)


def test_a_plugin_that_registers_itself_on_import_is_not_registered_twice(plugged, monkeypatch):
    registry = plugged()

    class SelfRegistering(FakePoint):
        def load(self) -> object:
            return registry.register("ring", aliases=("hoop",))(Shape)

    points = (SelfRegistering("ring", None), FakePoint("module", registry_module))
    monkeypatch.setattr(registry_module, "points_of", lambda group: points)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.available() == ["ring"]
    assert registry.record("hoop").name == "ring"


class Half(Shape, abc.ABC):
    """A shape that lacks its area."""

    @abc.abstractmethod
    def area(self) -> float: ...


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (ImportError("no such library"), "ImportError: no such library"),
        ("not callable", "expected a class or a function, got 'not callable'"),
        (dict, "expected a Shape, got dict"),
        (Half, "got Half, which lacks area"),
        (Shape(), "expected a class or a function, got <"),
        (None, "expected a class or a function, got None"),
        (type, "expected a Shape, got type"),
    ],
    ids=["exits", "lacks", "text", "class", "abstract", "instance", "nothing", "type"],
)
def test_a_plugin_that_exits_or_brings_no_component_warns_and_is_skipped(plugged, loaded, reason):
    registry = plugged(FakePoint("bad", loaded), FakePoint("ring", Shape))
    registry.kind = Shape
    with pytest.warns(
        RuntimeWarning, match=rf"shape plug-in 'bad' \(package.module:thing\) is skipped: .*{reason}"
    ) as caught:
        assert registry.available() == ["ring"]
    assert caught[0].filename == __file__, "it leads to the line that asked"


def test_a_plugin_is_interrupted_where_the_user_interrupts(plugged):
    with pytest.raises(KeyboardInterrupt):
        plugged(FakePoint("slow", KeyboardInterrupt())).available()


def test_a_function_that_builds_something_else_is_found_out(plugged):
    registry = Registry("shape", kind=Shape)
    registry.register("liar")(lambda: 3)
    with pytest.raises(OptionError, match=r"shape 'liar': expected .* Shape, got int"):
        registry.create("liar")


@pytest.mark.parametrize("family", [Prior, Coupling, Path, Sampler], ids=lambda family: family.__name__)
def test_every_family_knows_what_its_components_are(family):
    with pytest.raises(OptionError, match=rf"expected a {family.__name__}, got dict"):
        family.register("wrong")(dict)
    assert "wrong" not in family.available()
    with pytest.raises(OptionError, match=rf"expected a name, a spec or a {family.__name__}, got int"):
        family.registry.resolve(3)


class Typed(Shape):
    """A shape of typed options."""

    def __init__(
        self, corners: int = 3, width: float | None = 1.0, filled: bool = False, colour: str | int = "red"
    ) -> None:
        self.options = (corners, width, filled, colour)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("corners=three", "corners='three' is not possible; expected a whole number"),
        ("corners=3.0", "corners=3.0 is not possible; expected a whole number"),
        ("corners=true", "corners=True is not possible; expected a whole number"),
        ("corners=None", "corners=None is not possible; expected a whole number"),
        ("width=wide", "width='wide' is not possible; expected a finite number or None"),
        ("width=1e999", "width=inf is not possible; expected a finite number or None"),
        ("filled=1", "filled=1 is not possible; expected true or false"),
    ],
)
def test_an_option_of_another_type_is_refused_before_anything_is_built(option, expected):
    registry = Registry("shape")
    registry.register("typed")(Typed)
    with pytest.raises(OptionError, match=rf"^shape 'typed': {expected}$"):
        registry.resolve(f"typed:{option}")
    built = registry.resolve("typed:corners=4,width=2,filled=true,colour=3")
    assert built.options == (4, 2, True, 3)
    assert registry.resolve("typed:width=None").options[1] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "text", ["(" * 500, "[" * 100_000, "9" * 5000, "1if", "0x", "'\\d'", "a\0b", "\ud800", "{[]:1}"]
)
def test_values_that_are_no_literals_are_texts(text):
    assert parse_value(text) in (text, "\\d")


def test_options_that_a_family_shares_are_attributes_of_what_is_built():
    registry = Registry("shape", shared={"reads": "", "weight": 1.0})

    @registry.register("dot")
    class Dot:
        """A dot."""

        reads, weight = "", 1.0

        def __init__(self, size: int = 1) -> None:
            self.size = size

    @registry.register("own")
    class Own:
        """A shape that has an option of this name itself."""

        def __init__(self, reads: str = "itself") -> None:
            self.reads = reads

    assert dict(registry.record("dot").options) == {"size": 1, "reads": "", "weight": 1.0}
    assert (registry.create("dot").reads, registry.create("dot").weight) == ("", 1.0)
    built = registry.resolve("dot:size=2,reads=caption,weight=2")
    assert (built.size, built.reads, built.weight) == (2, "caption", 2)
    assert spec_of(registry, built) == "dot:size=2,reads=caption,weight=2.0"
    assert registry.create("own").reads == "itself"
    assert registry.create("own", reads="other").reads == "other"
    for wrong, expected in {"reads=3": "text", "weight=heavy": "a number", "weight=-1": "a number"}.items():
        with pytest.raises(OptionError, match=rf"shape 'dot': .* is not possible; .* {expected}"):
            registry.resolve(f"dot:{wrong}")


@pytest.mark.parametrize("text", ["", '[project]\nname = "other"\n', "[tool.poetry]\n"])
def test_in_the_folder_of_another_project_its_entry_points_are_not_ours(tmp_path, monkeypatch, text):
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr(plugins, "PYPROJECT", tmp_path / "pyproject.toml")
    assert plugins._declared.__wrapped__() == {}


@pytest.mark.parametrize(
    "declared", [{}, {"test.shapes": {"ring": "ours:Ring"}}, {"test.other": {"a": "b:c"}}]
)
def test_a_checkout_takes_its_own_entry_points_from_its_file_and_those_of_others_as_installed(
    declared, monkeypatch
):
    installed = [
        EntryPoint("ring", "older:Ring", "test.shapes")._for(SimpleNamespace(name="flowprior")),
        EntryPoint("disc", "theirs:Disc", "test.shapes")._for(SimpleNamespace(name="other")),
        EntryPoint("loose", "somewhere:Loose", "test.shapes"),
    ]
    monkeypatch.setattr(plugins, "_declared", lambda: declared)
    monkeypatch.setattr(plugins, "entry_points", lambda group: installed if group == "test.shapes" else [])
    ours = ["older:Ring"] if not declared else list(declared.get("test.shapes", {}).values())
    assert [point.value for point in plugins.points_of("test.shapes")] == [
        *ours,
        "theirs:Disc",
        "somewhere:Loose",
    ]


def test_an_entry_point_is_loaded_or_the_message_says_who_needs_it(monkeypatch):
    points = [FakePoint("ring", Shape), FakePoint("broken", ImportError("no such library"))]
    monkeypatch.setattr(plugins, "points_of", lambda group: points)
    assert plugins.load_point("test.shapes", "ring", "train") is Shape
    for name, reason in {
        "disc": "no installed package has",
        "broken": r"cannot be loaded \(no such library\)",
    }.items():
        with pytest.raises(
            OptionError, match=rf"^train needs '{name}' of test.shapes, which {reason}; install"
        ):
            plugins.load_point("test.shapes", name, "train")


def test_a_component_that_is_not_registered_is_shown_with_its_options():
    class Family(Registered):
        registry = Registry("shape")

    class Loose(Family):
        def __init__(self, size: int = 1, colour: str = "red") -> None:
            self.size, self.colour = size, colour

    assert repr(Loose(2)) == "Loose(size=2): shape, not registered"
    assert Loose().name == "Loose"
    Family.register("loose")(Loose)
    assert repr(Loose(colour="blue")) == "Loose(colour='blue'): shape 'loose'"
    assert Loose().name == "loose"
