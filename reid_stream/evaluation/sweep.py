"""Evaluate a recording at several values of one setting, to show its trade-off.

    match.false_match_rate=0.0003,0.001,0.003 + recording -> replayed and scored for each value, in seconds

What is decided after perceive (`match`) replays from one recording; what is decided before (`detect`, `track`, `embed`)
has to be recorded anew for each value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from reid_stream.config.settings import Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.recording import Recording
from reid_stream.evaluation.run import EvalResult, evaluate_run, rewatch

REPLAYED = "match"
"""The section that a recording leaves open."""
PERCEIVED = ("detect", "track", "embed")
"""Sections that a recording has settled."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to try."""

    section: str
    key: str
    values: tuple[str, ...]
    """As they were written."""

    @property
    def setting(self) -> str:
        """As in `match.false_match_rate`."""
        return f"{self.section}.{self.key}"

    @property
    def is_replayed(self) -> bool:
        """One recording serves all values."""
        return self.section == REPLAYED


@dataclass(frozen=True, slots=True)
class Point:
    """One value and what it led to."""

    value: str
    is_default: bool
    """It is what the settings at hand say anyway."""
    figures: EvalResult


def parse(text: str) -> Sweep:
    """Read `section.key=value,value,...`.

    Raises:
        ConfigError: it is no setting that can be swept.
    """
    setting, separator, values = text.partition("=")
    section, dot, key = setting.strip().partition(".")
    tried = tuple(value.strip() for value in values.split(",") if value.strip())
    sections = (REPLAYED, *PERCEIVED)
    known = {name: Settings.model_fields[name].annotation for name in sections}
    if not (separator and dot and tried) or section not in known:
        raise ConfigError(
            f"--sweep must be SETTING=VALUE,VALUE,... with a setting of {', '.join(sections)}, got {text!r};"
            " as in match.false_match_rate=0.0003,0.001,0.003"
        )
    keys = list(getattr(known[section], "model_fields", {}))
    if key not in keys:
        raise ConfigError(f"--sweep must name a key of {section}: {', '.join(keys)}, got {key!r}")
    return Sweep(section, key, tried)


def changed(settings: Settings, sweep: Sweep, value: str) -> Settings:
    """Return settings with one value in the place of what was there.

    Raises:
        ConfigError: the setting cannot have this value.
    """
    section: dict[str, object] = getattr(settings, sweep.section).model_dump()
    section[sweep.key] = None if value.lower() in {"none", "null"} else value
    model = type(getattr(settings, sweep.section))
    try:
        made = model.model_validate(section)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"{sweep.setting}: {fault['msg'][:1].lower()}{fault['msg'][1:]}, got {value}") from error
    return settings.model_copy(update={sweep.section: made})


def points(sweep: Sweep, settings: Settings, recording: Callable[[Settings], Recording]) -> Iterator[Point]:
    """Score each value, one after the other.

    Args:
        sweep: what to try.
        settings: everything else.
        recording: gives the recording for settings; called once for what is replayed, else once a value.

    Raises:
        ConfigError: a value is not allowed; all are checked before the first is tried.
    """
    tried = [(value, changed(settings, sweep, value)) for value in sweep.values]
    kept = recording(settings) if sweep.is_replayed else None
    for value, with_it in tried:
        watched = rewatch(kept or recording(with_it), with_it.match, with_it.topology)
        yield Point(value, with_it == settings, evaluate_run(watched))
