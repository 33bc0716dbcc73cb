"""Which trained fusion rule the feeds of a shard are judged by: the registry's, until they are given another."""

from __future__ import annotations

import logging

from mmstream.analysis import FeedAnalyzer
from mmstream.config import SiteConfig
from mmstream.edge_models import current_model
from mmstream.errors import ConfigError, StoreError
from mmstream.fusion.trained import UNTRAINED, MonotoneRule
from mmstream.training.versions import registry_of

log = logging.getLogger(__name__)

SUBJECT = "fusion"
RULE = "trained"
"""What ``fusion.rule`` must be for any of this to count."""


class RuleInUse:
    """A rule that cannot be read is no rule: the feeds go by the harmonic mean, and `trouble` says why."""

    def __init__(self, site: SiteConfig) -> None:
        self.wanted = site.fusion.rule == RULE
        self.rule = UNTRAINED
        self.trouble = ""
        if not self.wanted:
            return
        try:
            model = current_model(registry_of(site), SUBJECT)
            if model is not None:
                self.rule = MonotoneRule.from_bytes(model.data, version=model.version)
        except (ConfigError, StoreError) as error:
            self.trouble = error.sentence
            log.warning("modalities are joined by the harmonic mean: %s", error.sentence)

    def give(self, data: bytes, version: str) -> bool:
        """Use these weights from now on; empty: the harmonic mean. False: the site joins modalities otherwise.

        Raises:
            ConfigError: the weights cannot be used; nothing has changed.
        """
        if not self.wanted:
            return False
        self.rule = MonotoneRule.from_bytes(data, version=version) if data else UNTRAINED
        self.trouble = ""
        return True

    def put_into(self, analyzer: FeedAnalyzer) -> None:
        if self.wanted:
            analyzer.follow_fusion(self.rule)
