"""The generated messages and stubs of the protos, and their descriptors: `asgard.binpb`."""

from __future__ import annotations
