"""Signing requests to an S3 store: what a program needs that hands out URLs, and nothing more."""

from __future__ import annotations

from gimle.asgard.core.signing.endpoint import Endpoint
from gimle.asgard.core.signing.settings import Lent, StoreSettings
from gimle.asgard.core.signing.signer import LONGEST_S, UNSIGNED, Credentials, Signer

__all__ = ["LONGEST_S", "UNSIGNED", "Credentials", "Endpoint", "Lent", "Signer", "StoreSettings"]
