"""What a session was started from: kept with it, so that a lab file that has changed since loses no session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from springtide.hub.options import SessionRequest, as_user_options, from_user_options
from springtide.lab.models import Lab, Profile, Site
from springtide.lab.profiles import find_profile

_SITE: TypeAdapter[Site] = TypeAdapter(Site)


@dataclass(frozen=True)
class Plan:
    """A validated request, and the profile and site it was made for."""

    request: SessionRequest
    profile: Profile
    site: Site

    @classmethod
    def of(cls, lab: Lab, request: SessionRequest) -> Self:
        """Return the plan for a request that was just validated against `lab`."""
        profile = find_profile(lab, request.profile)
        return cls(request, profile, lab.sites[profile.site])

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the plan that `as_state` wrote, whatever the lab file says by now."""
        return cls(
            from_user_options(state["request"]),
            Profile.model_validate(state["profile"]),
            _SITE.validate_python(state["site"]),
        )

    def as_state(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it."""
        return {
            "request": as_user_options(self.request),
            "profile": self.profile.model_dump(mode="json"),
            "site": self.site.model_dump(mode="json"),
        }
