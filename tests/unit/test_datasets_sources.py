"""Sources and destinations: only what the settings allow, whatever tricks an address is made of."""

from pathlib import Path

import pytest

from app.datasets.folder_place import FolderPlace
from app.datasets.remote_place import RemotePlace
from app.datasets.sources import open_destination, open_source, refuse_overlap
from app.errors import BadSettings, InvalidRequest, NoSuchPlace, PlaceRefused
from app.settings import Settings, load_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that may be read, with a set in it, beside one that may not."""
    for name in ("root/set/a", "root-2/b", "secret/c"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1")
    return tmp_path / "root"


@pytest.fixture
def settings(root: Path, tmp_path: Path) -> Settings:
    return Settings(
        source_roots=(root,),
        destination_roots=(tmp_path / "results",),
        s3_prefixes=("s3://bucket/sets/", "s3://all-of-it"),
        s3_destination_prefixes=("s3://bucket/results",),
        s3_endpoint="http://127.0.0.1:9000",
    )


def test_a_folder_below_a_root_is_read_by_its_path_and_by_its_address(root: Path, settings: Settings) -> None:
    (root / "a b").mkdir()
    for uri in (str(root / "a b"), f"file://{root}/a%20b", f"file://{root}/a b"):
        assert open_source(uri, settings) == FolderPlace(root / "a b", (root,))


def test_the_address_of_a_place_opens_it_again(root: Path, settings: Settings) -> None:
    (root / "ünï %41\\").mkdir()
    place = open_source(str(root / "ünï %41\\"), settings)
    assert open_source(place.uri, settings) == place


def test_a_root_itself_is_a_source(root: Path, settings: Settings) -> None:
    assert list(open_source(f"{root}/", settings).names()) == ["set/a"]


def test_a_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    place = open_source(str(tmp_path / "link/set"), Settings(source_roots=(tmp_path / "link",)))
    assert place.read("a") == b"1"


def test_a_bucket_is_opened_at_the_endpoint_of_the_settings(settings: Settings) -> None:
    for uri in ("s3://bucket/sets", "s3://bucket/sets/", "s3://bucket/sets/one/two", "s3://all-of-it/x"):
        assert open_source(uri, settings) == RemotePlace(uri, "http://127.0.0.1:9000")


def test_nothing_is_allowed_unless_the_settings_say_so(root: Path) -> None:
    for uri in (str(root), f"file://{root}", "s3://bucket/sets", "/"):
        for opening in (open_source, open_destination):
            with pytest.raises(PlaceRefused):
                opening(uri, Settings())


def test_a_refusal_says_which_setting_would_allow_it(settings: Settings) -> None:
    for opening, uri, sentence in (
        (
            open_source,
            "/etc",
            "'/etc' may not be read: it lies in none of the folders of SIMTRUE_SOURCE_ROOTS.",
        ),
        (open_source, "s3://b-2", "'s3://b-2' may not be read: it begins with none of SIMTRUE_S3_PREFIXES."),
        (
            open_destination,
            "/etc",
            "'/etc' may not be written: it lies in none of the folders of SIMTRUE_DESTINATION_ROOTS.",
        ),
        (
            open_destination,
            "s3://b-2",
            "'s3://b-2' may not be written: it begins with none of SIMTRUE_S3_DESTINATION_PREFIXES.",
        ),
    ):
        with pytest.raises(PlaceRefused) as refused:
            opening(uri, settings)
        assert refused.value.detail == sentence


def test_what_may_be_read_may_not_be_written_and_the_other_way_round(
    root: Path, tmp_path: Path, settings: Settings
) -> None:
    for uri in (str(root / "set"), "s3://bucket/sets/a"):
        with pytest.raises(PlaceRefused):
            open_destination(uri, settings)
    for uri in (str(tmp_path / "results"), "s3://bucket/results/a"):
        with pytest.raises(PlaceRefused):
            open_source(uri, settings)


def test_a_refusal_does_not_tell_what_exists(tmp_path: Path, settings: Settings) -> None:
    said = set()
    for name in ("secret", "nowhere", "secret/c"):
        with pytest.raises(PlaceRefused) as refused:
            open_source(str(tmp_path / name), settings)
        said.add(refused.value.detail.replace(str(tmp_path / name), "it"))
    assert len(said) == 1


def test_a_folder_that_is_not_there_is_told_where_reading_is_allowed(root: Path, settings: Settings) -> None:
    (root / "circle").symlink_to("circle")
    for name in ("missing", "set/a", "circle", "circle/a"):
        with pytest.raises(NoSuchPlace, match="There is no folder"):
            open_source(str(root / name), settings)


TRICKS = [
    "",
    ".",
    "relative/path",
    "{root}/../secret",
    "{root}/set/../../secret",
    "{root}/./set",
    "{root}/%2e%2e/secret",
    "{root}/%2E%2E%2Fsecret",
    "{root}/..\\secret",
    "file://{root}/%2e%2e/secret",
    "file://{root}/..%2fsecret",
    "file://{root}/%252e%252e/secret",
    "file://{root}/set%00",
    "file://{root}/set%0a",
    "{root}/set\0",
    "{root}/set\n",
    "{root}/\ud800",
    "{root}-2",
    "file://{root}-2",
    "file://localhost{root}/set",
    "file://host{root}/set",
    "file:{root}/set",
    "FILE://{root}/set",
    "local://{root}/set",
    "http://127.0.0.1/set",
    "https://example.org/set",
    "ftp://example.org/set",
    "github://owner:repository@/set",
    "memory://set",
    "simplecache::s3://bucket/sets",
    "simplecache::file://{root}/set",
    "zip://*::file://{root}/set.zip",
    "s3://bucket/sets::file:///etc",
    "s3a://bucket/sets",
    "S3://bucket/sets",
    "s3::bucket/sets",
    "s3:/bucket/sets",
    "s3://",
    "s3:///bucket/sets",
    "s3://bucket",
    "s3://bucket/",
    "s3://bucket/set",
    "s3://bucket/sets-2",
    "s3://bucket-2/sets",
    "s3://Bucket/sets",
    "s3://bucket//sets",
    "s3://bucket/sets/../secret",
    "s3://bucket/sets/%2e%2e/secret",
    "s3://bucket/sets/%2E./secret",
    "s3://key:word@bucket/sets",
    "s3://bucket/sets/\0",
    "s3://bucket/sets/" + "a" * 3000,
    "/" + "a" * 3000,
]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("opening", [open_source, open_destination])
def test_no_trick_leads_out(trick: str, opening: object, root: Path) -> None:
    allowed = {"source_roots": (root,), "destination_roots": (root,)}
    prefixes = ("s3://bucket/sets/",)
    settings = Settings(**allowed, s3_prefixes=prefixes, s3_destination_prefixes=prefixes)
    with pytest.raises(PlaceRefused) as refused:
        opening(trick.replace("{root}", str(root)), settings)  # type: ignore[operator]
    assert len(refused.value.detail) < 400
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize("uri", ["s3://all-of-it//a", "s3://all-of-it/a//b"])
def test_a_prefix_with_empty_parts_is_no_place(uri: str, settings: Settings) -> None:
    with pytest.raises(InvalidRequest):
        open_source(uri, settings)


@pytest.mark.parametrize("name", ["link", "link/deeper", "dangling"])
def test_a_link_that_leads_out_is_refused_like_what_lies_there(
    root: Path, tmp_path: Path, settings: Settings, name: str
) -> None:
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PlaceRefused):
        open_source(str(root / name), settings)


def test_a_linked_file_that_leads_out_is_refused_when_it_is_read(
    root: Path, tmp_path: Path, settings: Settings
) -> None:
    (root / "set/c").symlink_to(tmp_path / "secret/c")
    place = open_source(str(root / "set"), settings)
    assert sorted(place.names()) == ["a", "c"]
    with pytest.raises(PlaceRefused):
        place.read("c")


def test_a_destination_is_made_with_its_first_file(tmp_path: Path, settings: Settings) -> None:
    place = open_destination(str(tmp_path / "results/new"), settings)
    assert not (tmp_path / "results").exists()
    place.write("a/b", b"1")
    assert (tmp_path / "results/new/a/b").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("one", "other"), [("set", "set"), ("set", "set/inner"), ("set/inner", "set"), ("set", ".")]
)
def test_a_destination_inside_or_around_its_source_is_refused(tmp_path: Path, one: str, other: str) -> None:
    with pytest.raises(InvalidRequest, match="overlap"):
        refuse_overlap(FolderPlace(tmp_path / one), FolderPlace(tmp_path / other))
    with pytest.raises(InvalidRequest, match="overlap"):
        refuse_overlap(RemotePlace(f"s3://bucket/x/{one}/"), RemotePlace("s3://bucket/x"))


def test_a_destination_beside_its_source_is_fine(tmp_path: Path) -> None:
    refuse_overlap(FolderPlace(tmp_path / "set"), FolderPlace(tmp_path / "set-2"))
    refuse_overlap(FolderPlace(tmp_path / "set"), RemotePlace("s3://bucket/set"))


def test_lists_of_folders_and_prefixes_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMTRUE_SOURCE_ROOTS", "/data/one:/data/two,/data/three")
    monkeypatch.setenv("SIMTRUE_S3_PREFIXES", "s3://bucket/a/, s3://other")
    settings = load_settings()
    assert settings.source_roots == (Path("/data/one"), Path("/data/two"), Path("/data/three"))
    assert settings.s3_prefixes == ("s3://bucket/a/", "s3://other")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "SIMTRUE_SOURCE_ROOTS",
            "/data:sets",
            "SIMTRUE_SOURCE_ROOTS is 'sets', but must be an absolute path.",
        ),
        (
            "SIMTRUE_S3_PREFIXES",
            "bucket/sets",
            "SIMTRUE_S3_PREFIXES is 'bucket/sets', but must have the form s3://bucket/prefix.",
        ),
    ],
)
def test_a_wrong_list_gets_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings) as raised:
        load_settings()
    assert raised.value.detail == sentence
