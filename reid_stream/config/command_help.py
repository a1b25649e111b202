"""Help texts of the commands, as Typer prints them."""

from typing import Any


def hide_flag_types(command: Any) -> None:
    """Keep the help from printing `<bool>` beside options that take no value, `--help` included."""
    for parameter in command.params:
        _hide_type(parameter)
    find = command.get_help_option  # made when it is first asked for

    def find_without_type(context: Any) -> Any:
        return _hide_type(find(context))

    command.get_help_option = find_without_type
    for child in getattr(command, "commands", {}).values():
        hide_flag_types(child)


def _hide_type(parameter: Any) -> Any:
    if getattr(parameter, "is_bool_flag", False):
        parameter.display_type_rich = lambda **_: None
    return parameter
