"""The policies by name. Released versions stay: an audit derives old decisions again."""

from ladle.core.policies import least_loaded, pack, region_first, two_choice
from ladle.core.policies.base import Policy

POLICIES: dict[str, Policy] = {
    module.POLICY.name: module.POLICY for module in (least_loaded, pack, two_choice, region_first)
}

__all__ = ["POLICIES", "Policy"]
