"""Evaluate a recording at several values of one setting, to show its trade-off.

    match.false_match_rate=0.0003,0.001,0.003 + recording -> replayed and scored for each value, in seconds

Settings of matching (`match`) are replayed from one recording; those of perception (`detect`, `track`, `embed`) need a
new recording per value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from reid_stream.config.settings import Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.recording import Recording
from reid_stream.evaluation.run import EvalResult, evaluate_run, rewatch

REPLAYED = "match"
"""Section that can be changed with one recording."""
PERCEIVED = ("detect", "track", "embed")
"""Sections that need a new recording per value."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A setting and its values to evaluate."""

    section: str
    key: str
    values: tuple[str, ...]
    """Values as given on the command line."""

    @property
    def setting(self) -> str:
        """Full name, such as `match.false_match_rate`."""
        return f"{self.section}.{self.key}"

    @property
    def is_replayed(self) -> bool:
        """Whether one recording serves all values."""
        return self.section == REPLAYED


@dataclass(frozen=True, slots=True)
class Point:
    """One value and its result."""

    value: str
    is_default: bool
    """Whether it is the value in the settings."""
    figures: EvalResult


def parse(text: str) -> Sweep:
    """Parse `section.key=value,value,...`.

    Raises:
        ConfigError: the text is not of this form, or the setting cannot be swept.
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
    """Return settings with one value replaced.

    Raises:
        ConfigError: the value is not valid for the setting.
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
    """Evaluate the values one after the other.

    Args:
        sweep: the setting and its values.
        settings: all other settings.
        recording: returns the recording for settings; called once if `sweep.is_replayed`, else once per value.

    Raises:
        ConfigError: a value is not valid; all are checked before the first is evaluated.
    """
    tried = [(value, changed(settings, sweep, value)) for value in sweep.values]
    kept = recording(settings) if sweep.is_replayed else None
    for value, with_it in tried:
        watched = rewatch(kept or recording(with_it), with_it.match, with_it.topology)
        yield Point(value, with_it == settings, evaluate_run(watched))
