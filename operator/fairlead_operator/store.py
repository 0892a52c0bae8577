"""What is known of the cluster: pools, and the objects that they own, kept up to date by events.

The view can be a moment old. Plans are made so that an old view does no harm, and each resync replaces it by what the
API server really holds.
"""

import re
from collections.abc import Iterable, Iterator, Set

from fairlead_operator.api.pool import KIND, Pool
from fairlead_operator.plan.observed import Observed, owner_name
from fairlead_operator.plan.pool import owned_by
from fairlead_operator.types import ChildKey, Key, Manifest


class Store:
    """Pools by key, and children by the pool that owns them."""

    def __init__(self) -> None:
        self._cordoned: Set[str] | None = None
        self._pools: dict[Key, Manifest] = {}
        self._children: dict[Key, dict[ChildKey, Manifest]] = {}

    def __len__(self) -> int:
        return len(self._pools)

    def pool_keys(self) -> Iterator[Key]:
        """Give the key of every pool."""
        return iter(list(self._pools))

    def pool(self, key: Key) -> Manifest | None:
        """Give a pool's manifest."""
        return self._pools.get(key)

    def observed(self, pool: Pool) -> Observed:
        """Give what a pool owns."""
        children = self._children.get(Key(pool.namespace, pool.name), {})
        mine = {key: manifest for key, manifest in children.items() if owned_by(pool, manifest)}
        return Observed(
            pods=tuple(manifest for key, manifest in sorted(mine.items()) if _is_engine(key, pool.name)),
            children={key: manifest for key, manifest in mine.items() if key.kind != "Pod"},
            cordoned=self._cordoned,
        )

    def cordon(self, nodes: Set[str] | None) -> list[Key]:
        """Take in which nodes are cordoned, None where that cannot be seen; give the pools with pods where that is news."""
        changed = (nodes or frozenset()) ^ (self._cordoned or frozenset())
        self._cordoned = nodes
        return [
            key
            for key, children in self._children.items()
            if any(manifest.get("spec", {}).get("nodeName") in changed for manifest in children.values())
        ]

    def put(self, manifest: Manifest) -> Key | None:
        """Take in an object, unless a newer state of it is known; give the key of the pool that it concerns."""
        key = pool_key(manifest)
        if key is None:
            return None
        if manifest["kind"] == KIND:
            if _newer(manifest, self._pools.get(key)):
                self._pools[key] = manifest
        else:
            children = self._children.setdefault(key, {})
            if _newer(manifest, children.get(child_key(manifest))):
                children[child_key(manifest)] = manifest
        return key

    def remove(self, manifest: Manifest) -> Key | None:
        """Forget an object that is gone, unless another has taken its name; give the key of its pool."""
        key = pool_key(manifest)
        if key is None:
            return None
        if manifest["kind"] == KIND:
            if _same(manifest, self._pools.get(key)):
                del self._pools[key]
        else:
            children = self._children.get(key, {})
            if _same(manifest, children.get(child_key(manifest))):
                del children[child_key(manifest)]
                if not children:
                    del self._children[key]
        return key

    def replace(self, kind: str, manifests: Iterable[Manifest]) -> None:
        """Take in everything that exists of a kind, and forget what does not."""
        if kind == KIND:
            self._pools.clear()
        else:
            for children in self._children.values():
                for known in [key for key in children if key.kind == kind]:
                    del children[known]
        for manifest in manifests:
            self.put(manifest)


def pool_key(manifest: Manifest) -> Key | None:
    """Give the key of the pool that an object is or belongs to; None for a stranger."""
    metadata = manifest["metadata"]
    name = metadata["name"] if manifest["kind"] == KIND else owner_name(manifest)
    return Key(metadata["namespace"], name) if name else None


def child_key(manifest: Manifest) -> ChildKey:
    """Give the identity of a child inside its namespace."""
    return ChildKey(manifest["kind"], manifest["metadata"]["name"])


def _is_engine(key: ChildKey, pool: str) -> bool:
    return key.kind == "Pod" and re.fullmatch(rf"{pool}-engine-\d+", key.name) is not None


def _newer(manifest: Manifest, known: Manifest | None) -> bool:
    """Tell whether a state supersedes the known one: events can arrive after the answer to a later write."""
    if known is None or known["metadata"]["uid"] != manifest["metadata"]["uid"]:
        return True
    return int(manifest["metadata"]["resourceVersion"]) >= int(known["metadata"]["resourceVersion"])


def _same(manifest: Manifest, known: Manifest | None) -> bool:
    return known is not None and known["metadata"]["uid"] == manifest["metadata"]["uid"]
