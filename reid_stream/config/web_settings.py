"""Settings of a reverse proxy in front of the web console (pure)."""

from typing import Annotated, Literal

from pydantic import Field

from reid_stream.config.camera_settings import SettingsSection


class WebProxy(SettingsSection):
    """A reverse proxy that signs users in (OpenID Connect) and names them in headers."""

    addresses: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+(/[0-9]{1,3})?$")], ...], Field(min_length=1)
    ]
    """Addresses or networks (CIDR) of the proxy; requests with its headers from any other are refused."""
    user: str | None = None
    """User of this machine that runs the proxy; needed where it connects over loopback."""
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "X-Forwarded-Email"
    """Header with the user's name, which corrections bear."""
    groups_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "X-Forwarded-Groups"
    """Header with the user's groups, separated by commas."""
    roles: dict[str, Literal["viewer", "operator", "admin"]] = Field(default_factory=dict)
    """Role by group or by user; of several the highest applies."""
    default_role: Literal["viewer", "operator", "admin"] | None = None
    """Role of users that the proxy has signed in and `roles` does not name; null refuses them."""
