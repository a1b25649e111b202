"""Reading cams.yaml, and the message for each kind of mistake."""

import json
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reid_stream.config.cams_yaml import load
from reid_stream.config.docs import default_yaml, schema_json
from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
CAMERAS = "cameras:\n  - id: door\n    url: rtsp://10.0.0.5/s\n"


def write(folder: Path, text: str) -> Path:
    """Put a cams.yaml into a folder."""
    path = folder / "cams.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def message_of(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    """Return the message that a file gets."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environ or {})
    return str(caught.value)


# Each: (what is wrong, the file, a part of the message).
WRONG = [
    ("empty", "", "line 1: must be a mapping of keys, found an empty file"),
    ("comment only", "# nothing\n", "must be a mapping of keys, found an empty file"),
    ("list at the top", "- a\n", "must be a mapping of keys, found a list"),
    ("text at the top", "hello\n", "must be a mapping of keys, found text"),
    ("open bracket", "site: shop\ncameras: [\n", "line 3: must be YAML: "),
    ("tab", "site: shop\n\tcameras: 1\n", "line 2: must be YAML: "),
    ("colon in a value", "site: a: b\n", "line 1: must be YAML: mapping values are not allowed here"),
    ("unknown alias", CAMERAS + "    username: *boss\n", "line 4: must be YAML: found undefined alias"),
    ("control character", "site: \x01\n", "line 1: must be YAML: a character that text must not hold"),
    ("two documents", CAMERAS + "---\nsite: b\n", "line 4: must be YAML: but found another document"),
    ("alias within itself", "a: &x [*x]\n", "nested too deeply"),
    (
        "many aliases",
        "\n".join([f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 0}]" for i in range(9)]),
        "values",
    ),
    ("tag", CAMERAS + "site: !!python/object:os.system x\n", "line 4: site: must be a plain value, found a YAML tag"),
    ("key twice", CAMERAS + "site: a\nsite: b\n", "line 5: site: a key must appear once, found it on line 4 already"),
    ("number as key", CAMERAS + "1: 2\n", "line 4: a key must be text"),
    ("no cameras", "site: shop\n", "line 1: cameras: must be given, found nothing; allowed: a list"),
    ("no camera in the list", "cameras: []\n", "line 1: cameras: must have at least 1 entries, found a list"),
    ("cameras is a mapping", "cameras:\n  door: {url: x}\n", "line 1: cameras: must be a list, found a mapping"),
    (
        "camera is text",
        "cameras:\n  - rtsp://u:geheim@h/\n",
        "line 2: cameras[0]: must be a mapping of keys, found 'rtsp",
    ),
    ("no id", "cameras:\n  - url: a.mp4\n", "line 2: cameras[0].id: must be given, found nothing"),
    ("no url", "cameras:\n  - id: a\n", "line 2: cameras[0].url: must be given, found nothing"),
    (
        "misspelt key",
        CAMERAS + "    max_fsp: 5\n",
        "line 4: cameras[0].max_fsp: must be a known key, found 'max_fsp' (did",
    ),
    (
        "misspelt section",
        CAMERAS + "redsi: {}\n",
        "line 4: redsi: must be a known key, found 'redsi' (did you mean 'redis'?)",
    ),
    (
        "rate below 0",
        CAMERAS + "    max_fps: -1\n",
        "cams.yaml, line 4: cameras[0].max_fps: must be greater than 0, found -1; "
        "allowed: a number above 0, at most 120, or null",
    ),
    ("rate too high", CAMERAS + "    max_fps: 1000\n", "line 4: cameras[0].max_fps: must be at most 120, found 1000"),
    ("no workers", CAMERAS + "workers: 0\n", "line 4: workers: must be auto or a whole number from 1 to 64, found '0'"),
    ("workers are text", CAMERAS + "workers: many\n", "workers: must be auto or a whole number from 1 to 64"),
    ("rate is text", CAMERAS + "    max_fps: fast\n", "line 4: cameras[0].max_fps: must be a number, found 'fast'"),
    ("rate is true", CAMERAS + "    max_fps: true\n", "line 4: cameras[0].max_fps: must be a number, found true"),
    (
        "endless time",
        CAMERAS + "ingest:\n  read_timeout_s: .inf\n",
        "line 5: ingest.read_timeout_s: must be a finite number",
    ),
    (
        "not a number",
        CAMERAS + "match: {similarity: .nan}\n",
        "line 4: match.similarity: must be a finite number, found nan",
    ),
    (
        "transport",
        CAMERAS + "    transport: sctp\n",
        "line 4: cameras[0].transport: must be one of the allowed values, found 'sctp'; allowed: tcp, udp",
    ),
    ("resize of one number", CAMERAS + "    resize: [640]\n", "line 4: cameras[0].resize[1]: must be given"),
    (
        "resize too small",
        CAMERAS + "    resize: [640, 0]\n",
        "line 4: cameras[0].resize[1]: must be at least 32, found 0",
    ),
    (
        "enabled is a word",
        CAMERAS + "    enabled: perhaps\n",
        "line 4: cameras[0].enabled: must be true or false, found 'per",
    ),
    (
        "none enabled",
        CAMERAS + "    enabled: false\n",
        "line 1: cameras: at least one camera must be enabled, found none",
    ),
    (
        "id with a space",
        "cameras:\n  - id: a b\n    url: x\n",
        "line 2: cameras[0].id: must be text of the allowed form, found",
    ),
    ("id is a number", "cameras:\n  - id: 1\n    url: x\n", "line 2: cameras[0].id: must be text, found 1"),
    (
        "id twice",
        CAMERAS + "  - id: door\n    url: x\n",
        "line 4: cameras[1].id: every camera needs its own id, found 'door' on line 2 already",
    ),
    (
        "scheme",
        "cameras:\n  - id: a\n    url: ftp://h/x\n",
        "line 3: cameras[0].url: must be a kind of source that can be read, found ftp://; allowed: rtsp://",
    ),
    ("no host", "cameras:\n  - id: a\n    url: rtsp:///s\n", "line 3: cameras[0].url: must name a host, found none"),
    (
        "port",
        "cameras:\n  - id: a\n    url: rtsp://h:99999/s\n",
        "line 3: cameras[0].url: must have a host and a port from 1",
    ),
    ("url is blank", "cameras:\n  - id: a\n    url: ' '\n", "line 3: cameras[0].url: must be one line of visible text"),
    (
        "loop of a stream",
        CAMERAS + "    loop: true\n",
        "line 4: cameras[0].loop: loop is for files only, found a rtsp camera",
    ),
    (
        "region in pixels",
        CAMERAS + "    region: [[0, 0], [640, 0], [640, 480]]\n",
        "line 4: cameras[0].region[1]: corners must be fractions in 0..1, found [640, 0]",
    ),
    (
        "region of two corners",
        CAMERAS + "    region: [[0, 0], [1, 1]]\n",
        "line 4: cameras[0].region: a polygon needs at least 3",
    ),
    (
        "line between two equal points",
        CAMERAS + "    lines: {gate: [[0.5, 0.5], [0.5, 0.5]]}\n",
        "line 4: cameras[0].lines.gate: a line must have two different points",
    ),
    (
        "region is a line",
        CAMERAS + "    region: [[0, 0], [0.5, 0.5], [1, 1]]\n",
        "line 4: cameras[0].region: must enclose an area",
    ),
    (
        "region crosses itself",
        CAMERAS + "    ignore:\n      - [[0, 0], [1, 1], [1, 0.5], [0, 1]]\n",
        "line 5: cameras[0].ignore[0]: must not cross itself",
    ),
    (
        "ignore is one polygon",
        CAMERAS + "    ignore: [[0, 0], [1, 0], [1, 1]]\n",
        "line 4: cameras[0].ignore: must be a list of polygons",
    ),
    (
        "password alone",
        CAMERAS + "    password: geheim\n",
        "line 4: cameras[0].password: password needs a username, found none",
    ),
    (
        "password is a list",
        CAMERAS + "    username: u\n    password: [geheim]\n",
        "line 5: cameras[0].password: must be text, found (hidden)",
    ),
    (
        "two passwords",
        CAMERAS + "    username: u\n    password: geheim\n    password_file: f\n",
        "give password or password_file",
    ),
    (
        "secret file",
        CAMERAS + "    username: u\n    password_file: none.txt\n",
        "line 5: cameras[0].password_file: must be a readable file, found: No such file",
    ),
    (
        "user twice",
        "cameras:\n  - id: a\n    url: rtsp://u:geheim@h/s\n    username: u\n",
        "line 3: cameras[0].url: credentials must",
    ),
    (
        "variable",
        CAMERAS + "    username: ${UNSET_VARIABLE}\n",
        "line 4: cameras[0].username: environment variable UNSET_VARIABLE must be set",
    ),
    (
        "half a variable",
        CAMERAS + "    username: ${HALF\n",
        "line 4: cameras[0].username: an environment variable must be ${NAME}",
    ),
    (
        "redis scheme",
        CAMERAS + "redis:\n  url: http://:geheim@h/\n",
        "line 5: redis.url: must be a Redis, found http://; allowed: embedded, redis://",
    ),
    (
        "redis port with url",
        CAMERAS + "redis:\n  url: redis://h\n  port: 7000\n",
        "line 6: redis.port: port is for the embedded",
    ),
    (
        "empty section",
        CAMERAS + "redis:\n",
        "line 4: redis: must be a mapping of keys, found nothing (leave the key out",
    ),
    (
        "site in capitals",
        CAMERAS + "site: Shop\n",
        "line 4: site: must be text of the allowed form, found 'Shop'; allowed: text matching ^[a-z0-9]",
    ),
    (
        "share above one",
        CAMERAS + "detect:\n  score: 50\n",
        "line 5: detect.score: must be at most 1, found 50; allowed: a number at least 0, at most 1",
    ),
    (
        "half a batch",
        CAMERAS + "detect: {max_batch: 1.5}\n",
        "line 4: detect.max_batch: must be a whole number, found 1.5",
    ),
    (
        "backoff",
        CAMERAS + "ingest:\n  backoff_first_s: 60\n",
        "line 5: ingest.backoff_first_s: must be at most backoff_max_s (30)",
    ),
    (
        "frames on a gpu that must come home",
        CAMERAS + "ingest:\n  gpu_frames: true\n  hardware_decode: true\n",
        "line 5: ingest.gpu_frames: must come with isolate: false",
    ),
]


@pytest.mark.parametrize(("text", "part"), [pytest.param(text, part, id=name) for name, text, part in WRONG])
def test_a_wrong_file_gets_one_message_with_place_and_cause(tmp_path: Path, text: str, part: str) -> None:
    message = message_of(tmp_path, text)
    assert part in message
    assert len(message.splitlines()) == 1, message
    assert "geheim" not in message


def test_all_faults_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    message = message_of(
        tmp_path, CAMERAS + "    max_fps: 0\n    colour: red\nmatch:\n  exemplars: 0\n  similarity: 2\n"
    )
    lines = message.splitlines()
    assert "has 4 faults" in lines[0]
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "cameras[0].max_fps",
        "cameras[0].colour",
        "match.exemplars",
        "match.similarity",
    ]


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: must be a readable file, found: No such file or directory"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="must be a readable file, found: Is a directory"):
        load(tmp_path, {})
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"site: a\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml, line 2: must be UTF-8 text, found byte 0xe9"):
        load(path, {})
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="must be at most 1048576 bytes"):
        load(path, {})


def test_default_yaml_has_every_key_and_the_defaults_of_the_settings() -> None:
    path = CONFIGS / "default.yaml"
    assert path.read_text() == default_yaml(), "run `python -m reid_stream.config.docs`"
    example = Camera(id="door", url="rtsp://10.0.0.5:554/stream1")  # type: ignore[arg-type]
    assert load(path, {}) == Settings(cameras=(example,))
    raw = YAML(typ="safe").load(path)
    assert set(raw) == set(Settings.model_fields)
    assert set(raw["cameras"][0]) == set(Camera.model_fields)
    for name, field in Settings.model_fields.items():
        if name not in ("site", "cameras", "workers"):
            assert set(raw[name]) == set(field.annotation.model_fields), name  # type: ignore[union-attr]


def test_every_setting_has_a_description() -> None:
    text = (CONFIGS / "default.yaml").read_text().splitlines()
    for above, line in pairwise(text):
        if ":" in line and not line.lstrip().startswith("#"):
            assert above.lstrip().startswith(("#", "-")), f"no reason above {line!r}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_load_and_fit_the_schema(path: Path) -> None:
    text = path.read_text()
    if "cams.schema.json" not in text:
        pytest.skip("not a cams.yaml")
    load(path, {"DOOR_PASSWORD": "x"})
    jsonschema.validate(YAML(typ="safe").load(text), json.loads(schema_json()))


def test_the_committed_schema_is_the_one_of_the_settings() -> None:
    committed = (CONFIGS / "schemas/cams.schema.json").read_text()
    assert committed == schema_json(), "run `python -m reid_stream.config.docs`"
    jsonschema.Draft202012Validator.check_schema(json.loads(committed))


KEYS = st.sampled_from(
    ["site", "redis", "models", "cameras", "id", "url", "password", "password_file", "region", "ignore", "max_fps", "x"]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["${", "${A}", "rtsp://u:p@h", "rtsp://[", "embedded", "~/x", "file:", "\x00", "/dev/video0"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=300, deadline=None)
@given(value=st.dictionaries(KEYS, TREES, max_size=6))
def test_no_tree_of_values_raises_anything_but_a_config_error(
    value: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        load(write(tmp_path_factory.getbasetemp(), json.dumps(value)), {})
    except ConfigError as error:
        assert "cams.yaml" in str(error)


@settings(max_examples=500, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("abc:- \n\t[]{}!&*'\"|>%@`#?,0129.<~$\\é\x00\ud800"), max_size=60))
def test_no_text_raises_anything_but_a_config_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="cams.yaml"):
        load(write(tmp_path_factory.getbasetemp(), text), {})
