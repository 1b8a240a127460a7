"""Each user's network gets a range that nobody uses."""

from ipaddress import IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from springtide.hub.container import _subnets, first_free_subnet

POOL = IPv4Network("10.213.0.0/24")
SMALL = st.integers(0, 15).map(lambda number: IPv4Network(f"10.213.0.{number * 16}/28"))
OTHERS = st.sampled_from(["10.213.0.0/25", "10.213.0.64/26", "10.212.0.0/14", "172.17.0.0/16", "10.213.0.200/32"])


@given(st.sets(SMALL | OTHERS.map(IPv4Network)))
def test_the_range_is_the_first_that_overlaps_none(used: set[IPv4Network]) -> None:
    found = first_free_subnet(POOL, used)
    free = [one for one in POOL.subnets(new_prefix=28) if not any(one.overlaps(other) for other in used)]
    assert found == (free[0] if free else None)


def test_a_pool_as_small_as_a_network_holds_one_user() -> None:
    pool = IPv4Network("10.0.0.0/29")
    assert first_free_subnet(pool, []) == pool
    assert first_free_subnet(pool, [pool]) is None


def test_the_half_that_somebody_uses_is_passed_over() -> None:
    assert first_free_subnet(IPv4Network("10.0.0.0/8"), [IPv4Network("10.0.0.0/9")]) == IPv4Network("10.128.0.0/28")


def test_networks_of_every_kind_are_read_and_ipv6_is_left_out() -> None:
    networks: list[dict[str, Any]] = [
        {"Name": "host", "IPAM": {"Config": None}},
        {"Name": "none"},
        {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00::/64"}]}},
        {"Name": "odd", "IPAM": {"Config": [{}]}},
    ]
    assert _subnets(networks) == {IPv4Network("172.17.0.0/16")}
