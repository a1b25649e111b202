"""Construct the matcher for an embedder (pure)."""

from collections.abc import Collection

from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match, TopologySettings
from reid_stream.match.matcher import Matcher
from reid_stream.match.snapshot import MatcherState


def matcher_for(
    settings: Match,
    embedder: EmbedderInfo,
    site: str,
    *,
    topology: TopologySettings | None = None,
    cameras: Collection[str] | None = None,
    state: MatcherState | None = None,
    first_number: int = 1,
) -> Matcher:
    """Return a matcher for the vectors of one embedder, new or restored from a state.

    Args:
        settings: section `match` of cams.yaml.
        embedder: of the bundle that makes the vectors; vectors of another model are rejected.
        site: prefix of global IDs.
        topology: section `topology` of cams.yaml; None states nothing about cameras.
        cameras: configured cameras; observations of others are counted as odd. None accepts all.
        state: of an earlier matcher; identities of another model are dropped, their numbers are not reused.
        first_number: lowest number for a new identity.
    """
    return Matcher(
        settings,
        site,
        embedder.model,
        verifier=embedder.verifier,
        calibration=embedder.calibration,
        dim=embedder.dim,
        state=state,
        first_number=first_number,
        topology=topology,
        cameras=cameras,
    )
