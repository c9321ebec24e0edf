"""Which rules there are: the reference's, heald's own, and heald's own with a user's beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heald_worker.config_rules import of_rules
from heald_worker.core.remedies import RemedyTable
from heald_worker.core.taxonomy import TAXONOMIES, Taxonomy, TaxonomyRef
from heald_worker.rulebook import NAME, Rulebook, RuleError, shipped, shipped_rulebook, with_packs

if TYPE_CHECKING:
    from heald_worker.config import Settings


def rulebook_of(settings: Settings) -> Rulebook:
    """heald's own rules with those of the configuration.

    Raises:
        ConfigError: the configuration's rules do not fit together, or not to heald's.
    """
    try:
        return with_packs(settings.diagnosis) if settings.diagnosis else shipped_rulebook()
    except RuleError as error:
        raise of_rules(error) from None


def chosen_taxonomy(settings: Settings) -> Taxonomy:
    """The rules that the setting `taxonomy` names.

    Raises:
        ConfigError: see `rulebook_of`.
    """
    return TAXONOMIES.get(settings.taxonomy) or rulebook_of(settings).taxonomy()


def remedies_of(settings: Settings) -> RemedyTable:
    """What can help which cause.

    Raises:
        ConfigError: see `rulebook_of`.
    """
    return rulebook_of(settings).remedies


def find_taxonomy(settings: Settings, ref: TaxonomyRef) -> Taxonomy | None:
    """The very rules that this names, if this process has them: same name, same digest."""
    if ref.name != NAME:
        known = [TAXONOMIES[ref.name]] if ref.name in TAXONOMIES else []
    else:
        known = [rulebook_of(settings).taxonomy(), shipped()]
    return next((taxonomy for taxonomy in known if taxonomy.ref.digest == ref.digest), None)
