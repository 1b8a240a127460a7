"""The driver, with the unmodified openstacksdk, on a small OpenStack whose machines are on paper."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from dataclasses import replace

import pytest

from springtide.clouds.base import MachineInfo, MachineSpec, MachineState
from springtide.clouds.openstack import OpenStackCloud
from springtide.errors import CloudRefused, CloudUnreachable
from tests.support.openstack.project import Project
from tests.support.openstack.running import RunningCloud

SERVERS = "/compute/v2.1/servers"
SPEC = MachineSpec("c1-cloud-0", "small", "#!/bin/sh\necho 'a key'\n", "lab.c1")


async def test_a_machine_is_made_found_by_its_tag_and_removed(nova: OpenStackCloud, project: Project) -> None:
    assert await nova.prepare() == ""
    made = await nova.create(SPEC, "the-token")
    [info] = await nova.machines("lab.c1")
    assert (made.id, made.token) == (info.id, "the-token")
    assert info == MachineInfo(
        made.id, "the-token", "lab.c1", "c1-cloud-0", MachineState.RUNNING, "small", "10.9.0.7", info.created
    )
    assert info.created
    assert abs(info.created - time.time()) < 60
    assert await nova.machines("lab.c2") == ()
    assert project.user_data[made.id] == SPEC.user_data
    await nova.destroy([made.id])
    assert await nova.machines() == ()


async def test_machines_get_what_the_settings_name(running: RunningCloud) -> None:
    settings = replace(running.settings, security_groups=("dask",), key_name="ada", availability_zone="nova")
    nova, project = OpenStackCloud(settings), running.project
    made = await nova.create(SPEC, "the-token")
    wish = project.servers[made.id]["wish"]
    assert (wish["security_groups"], wish["key_name"], wish["availability_zone"]) == ([{"name": "dask"}], "ada", "nova")
    assert [project.networks[one["uuid"]]["name"] for one in wish["networks"]] == ["lab"]
    assert project.images[wish["imageRef"]]["name"] == "base"
    await nova.close()


async def test_a_machine_may_have_a_disk_of_its_own_that_goes_with_it(running: RunningCloud) -> None:
    nova = OpenStackCloud(replace(running.settings, disk_bytes=20 * 2**30 + 1))
    made = await nova.create(SPEC, "the-token")
    wish = running.project.servers[made.id]["wish"]
    [volume] = wish["block_device_mapping_v2"]
    assert (volume["volume_size"], volume["delete_on_termination"], volume["source_type"]) == (21, True, "image")
    assert "imageRef" not in wish
    await nova.close()


async def test_machines_of_others_are_not_seen(nova: OpenStackCloud, project: Project) -> None:
    project.add_server({"name": "a colleague's"})
    assert await nova.machines() == ()


async def test_all_pages_of_a_long_list_are_read(nova: OpenStackCloud, project: Project) -> None:
    project.page = 2
    for number in range(5):
        project.add_server({"name": f"vm-{number}", "metadata": {"springtide-token": f"t-{number}"}})
    assert len(await nova.machines()) == 5


# --- made once -------------------------------------------------------------------------------------------------------


async def test_the_same_token_is_the_same_machine_for_every_process(
    nova: OpenStackCloud, running: RunningCloud
) -> None:
    other = OpenStackCloud(running.settings)
    first = await nova.create(SPEC, "the-token")
    again = await asyncio.gather(*(one.create(SPEC, "the-token") for one in (nova, other, nova)))
    assert {one.id for one in again} == {first.id}
    assert running.project.count("POST", SERVERS) == 1
    await other.close()


@pytest.mark.parametrize("how", [{}, {"status": 502, "body": "{}"}], ids=["connection lost", "bad gateway"])
async def test_a_lost_answer_makes_no_second_machine(
    nova: OpenStackCloud, project: Project, how: dict[str, object]
) -> None:
    project.fails("POST", f"{SERVERS}$", done=True, **how)
    made = await nova.create(SPEC, "the-token")
    assert list(project.servers) == [made.id]


async def test_an_answer_that_does_not_come_in_time_makes_no_second_machine(running: RunningCloud) -> None:
    nova, project = OpenStackCloud(replace(running.settings, request_s=1.0)), running.project
    await nova.prepare()
    project.fails("POST", f"{SERVERS}$", done=True, delay_s=3)
    made = await nova.create(SPEC, "the-token")
    assert list(project.servers) == [made.id]
    await nova.close()


async def test_a_machine_that_is_asked_for_again_while_the_cloud_thinks_is_made_once(
    nova: OpenStackCloud, project: Project
) -> None:
    project.fails("POST", f"{SERVERS}$", done=True, delay_s=1)
    made = await asyncio.gather(*(nova.create(SPEC, "the-token") for _ in range(3)))
    assert {one.id for one in made} == set(project.servers)
    assert project.count("POST", SERVERS) == 1


async def test_of_two_made_at_once_by_two_processes_the_older_stays(nova: OpenStackCloud, project: Project) -> None:
    older, newer = (
        project.add_server({"name": "twin", "metadata": {"springtide-token": "the-token"}}) for _ in range(2)
    )
    older["created"] = "2026-01-01T00:00:00Z"
    assert (await nova.create(SPEC, "the-token")).id == older["id"]
    assert newer["id"] not in project.servers


# --- refused ---------------------------------------------------------------------------------------------------------


async def test_a_full_quota_is_a_refusal_for_now_in_the_clouds_words(nova: OpenStackCloud, project: Project) -> None:
    project.quota = 0
    with pytest.raises(CloudRefused, match="Quota exceeded for instances: Requested 1, but already used 0") as refused:
        await nova.create(SPEC, "the-token")
    assert refused.value.transient
    project.fails("POST", f"{SERVERS}$", status=413, body='{"overLimit": {"message": "Too many requests to create"}}')
    with pytest.raises(CloudRefused, match="Too many requests to create") as refused:
        await nova.create(SPEC, "the-token")
    assert refused.value.transient
    project.quota = 1
    await nova.create(SPEC, "the-token")


async def test_what_the_cloud_does_not_have_is_refused_with_what_it_has(running: RunningCloud) -> None:
    settings = running.settings
    for wrong, words in (
        (replace(settings, image="nothing"), "has no image “nothing”. There are: base"),
        (replace(settings, network="nowhere"), "has no network “nowhere”. There are: lab, public"),
        (replace(settings, key_name="bob"), "said no: Invalid key_name provided"),
    ):
        nova = OpenStackCloud(wrong)
        with pytest.raises(CloudRefused, match=words) as refused:
            await nova.create(SPEC, "the-token")
        assert not refused.value.transient
        await nova.close()
    assert running.project.servers == {}


async def test_a_flavour_that_is_not_offered_or_not_there_is_refused(nova: OpenStackCloud, project: Project) -> None:
    with pytest.raises(CloudRefused, match="There are: small, large"):
        await nova.create(replace(SPEC, flavour="huge"), "the-token")
    del project.flavours["f-large"]
    with pytest.raises(CloudRefused, match=r"has no flavour “large”. There are: small\."):
        await nova.create(replace(SPEC, flavour="large"), "the-token")


async def test_an_image_that_was_replaced_is_found_again(nova: OpenStackCloud, project: Project) -> None:
    await nova.prepare()
    project.images.clear()
    new = project.add_image("base")
    with pytest.raises(CloudRefused, match="Can not find requested image"):
        await nova.create(SPEC, "the-token")
    made = await nova.create(SPEC, "the-token")
    assert project.servers[made.id]["wish"]["imageRef"] == new


# --- not answered ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_cloud_that_fails_says_nothing_about_machines(
    nova: OpenStackCloud, project: Project, status: int
) -> None:
    project.fails("GET", f"{SERVERS}/detail", status=status, body='{"computeFault": {"message": "The base is down."}}')
    with pytest.raises(CloudUnreachable, match="The base is down"):
        await nova.machines()
    project.fails("POST", f"{SERVERS}$", status=status, body="{}")
    with pytest.raises(CloudUnreachable):
        await nova.create(SPEC, "the-token")
    await nova.create(SPEC, "the-token")
    assert len(await nova.machines()) == 1


async def test_a_page_of_a_gateway_is_no_answer(nova: OpenStackCloud, project: Project) -> None:
    page = "<html><body><h1>Maintenance</h1></body></html>"
    for status in (200, 503):
        project.fails("GET", f"{SERVERS}/detail", status=status, body=page)
        with pytest.raises(CloudUnreachable):
            await nova.machines()


async def test_a_slow_cloud_is_given_up_and_never_blocks_the_event_loop(running: RunningCloud) -> None:
    nova = OpenStackCloud(replace(running.settings, request_s=0.5))
    await nova.prepare()
    running.project.fails("GET", f"{SERVERS}/detail", delay_s=5)
    longest, asked = 0.0, asyncio.create_task(nova.machines())
    while not asked.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - before)
    with pytest.raises(CloudUnreachable, match="did not answer"):
        await asked
    assert longest < 0.4
    await nova.close()


async def test_a_cloud_that_is_not_there_is_unreachable(running: RunningCloud) -> None:
    file = running.settings.clouds_file
    assert file
    text = file.read_text()
    file.write_text(text.replace("127.0.0.1:", "127.0.0.1:1"))
    nova = OpenStackCloud(running.settings)
    with pytest.raises(CloudUnreachable, match="lab-cloud did not answer"):
        await nova.machines()
    file.write_text(text)
    assert await nova.machines() == ()
    await nova.close()


async def test_a_token_that_has_expired_is_renewed(nova: OpenStackCloud, project: Project) -> None:
    await nova.create(SPEC, "the-token")
    project.tokens.clear()
    assert len(await nova.machines()) == 1


async def test_a_credential_that_is_refused_is_told_with_where_it_stands(
    nova: OpenStackCloud, project: Project
) -> None:
    await nova.prepare()
    project.tokens.clear()
    secret, project.secret = project.secret, "another"
    for asked in (nova.machines(), nova.create(SPEC, "the-token")):
        with pytest.raises(CloudUnreachable, match="requires authentication") as error:
            await asked
        assert "clouds.yaml" in error.value.hint
    project.secret = secret
    assert await nova.machines() == ()


async def test_a_cloud_that_is_not_in_the_file_is_told(running: RunningCloud) -> None:
    for settings, words in (
        (replace(running.settings, cloud="moon"), "The cloud moon cannot be used: .*moon"),
        (replace(running.settings, clouds_file=running.settings.clouds_file.with_name("no.yaml")), "There is no file"),  # type: ignore[union-attr]
    ):
        nova = OpenStackCloud(settings)
        with pytest.raises(CloudRefused, match=words):
            await nova.prepare()
        with pytest.raises(CloudUnreachable, match=words):
            await nova.machines()
        await nova.close()


async def test_a_library_that_is_missing_is_told_with_how_to_get_it(
    nova: OpenStackCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openstack", None)
    with pytest.raises(CloudRefused, match=r"openstacksdk cannot be used.*springtide\[openstack\]"):
        await nova.prepare()


# --- states, console, end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("BUILD", MachineState.CREATING),
        ("ACTIVE", MachineState.RUNNING),
        ("SHUTOFF", MachineState.STOPPED),
        ("SHELVED_OFFLOADED", MachineState.STOPPED),
        ("UNKNOWN", MachineState.RUNNING),
    ],
)
async def test_states_are_told_in_common_words(
    nova: OpenStackCloud, project: Project, status: str, state: MachineState
) -> None:
    made = await nova.create(SPEC, "the-token")
    project.becomes(made.id, status)
    assert [info.state for info in await nova.machines()] == [state]


async def test_a_machine_that_cannot_be_started_says_why(nova: OpenStackCloud, project: Project) -> None:
    project.new_status = "ERROR"
    await nova.create(SPEC, "the-token")
    [info] = await nova.machines()
    assert (info.state, info.reason) == (MachineState.FAILED, project.fault_message)


async def test_what_has_powered_itself_off_is_off_before_nova_says_so(nova: OpenStackCloud, project: Project) -> None:
    made = await nova.create(SPEC, "the-token")
    project.servers[made.id]["OS-EXT-STS:power_state"] = 4
    [info] = await nova.machines()
    assert (info.state, info.reason) == (MachineState.STOPPED, "it is powered off")


async def test_what_is_deleted_is_not_there_and_what_is_being_deleted_is_off(
    nova: OpenStackCloud, project: Project
) -> None:
    made = await nova.create(SPEC, "the-token")
    project.servers[made.id]["OS-EXT-STS:task_state"] = "deleting"
    assert [info.state for info in await nova.machines()] == [MachineState.STOPPED]
    project.becomes(made.id, "DELETED")
    assert await nova.machines() == ()


async def test_removing_what_is_not_there_is_no_error_and_the_rest_is_removed(
    nova: OpenStackCloud, project: Project
) -> None:
    made = await nova.create(SPEC, "the-token")
    await nova.destroy(["00000000-0000-0000-0000-000000000000", "../../os-keypairs/ada", made.id, made.id])
    assert project.servers == {}
    assert not [one for one in project.asked if one.startswith("DELETE") and "keypairs" in one]


async def test_a_removal_that_is_not_answered_for_is_told_after_the_others(
    nova: OpenStackCloud, project: Project
) -> None:
    stays, goes = [await nova.create(SPEC, token) for token in ("one", "two")]
    project.fails("DELETE", stays.id, status=409, body='{"conflictingRequest": {"message": "It is locked."}}')
    with pytest.raises(CloudUnreachable, match="It is locked"):
        await nova.destroy([stays.id, goes.id])
    assert list(project.servers) == [stays.id]


async def test_the_console_is_told_where_there_is_one(nova: OpenStackCloud, project: Project) -> None:
    made = await nova.create(SPEC, "the-token")
    assert await nova.console(made.id) == "c1-cloud-0 login:\n"
    project.fails("POST", "/action$", status=409, body='{"conflictingRequest": {"message": "not ready"}}')
    assert await nova.console(made.id) == ""
    assert await nova.console("nothing") == ""
    project.fails("POST", "/action$", status=500)
    with pytest.raises(CloudUnreachable):
        await nova.console(made.id)


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_no_secret_is_in_an_error_or_in_the_log(
    nova: OpenStackCloud, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await nova.create(SPEC, "the-token")
    with pytest.raises(CloudRefused, match=r"user_data\. Value: …\.") as refused:
        await nova.create(replace(SPEC, user_data="#!/bin/sh\n" + "key" * 30_000), "another")
    assert "a2V5a2V5a2V5" not in str(refused.value) + caplog.text
    assert "IyEvYmlu" not in caplog.text
    assert project.secret not in caplog.text
    assert project.secret not in repr(nova.settings)
    assert "a key" not in repr(SPEC)


# --- floating addresses ----------------------------------------------------------------------------------------------


async def test_a_machine_gets_a_floating_address_that_goes_with_it(running: RunningCloud) -> None:
    nova, project = OpenStackCloud(replace(running.settings, floating_network="public")), running.project
    made = await nova.create(SPEC, "the-token")
    project.becomes(made.id, "ACTIVE")
    assert [info.address for info in await nova.machines()] == ["192.0.2.1"]
    # Nova itself may be late to know of it.
    del project.servers[made.id]["addresses"]["lab"][1:]
    assert [(info.address, info.reason) for info in await nova.machines()] == [("192.0.2.1", "")]
    assert len(project.addresses) == 1
    await nova.destroy([made.id])
    assert project.addresses == {}
    await nova.close()


async def test_a_floating_address_whose_machine_somebody_removed_goes_with_the_next_removal(
    running: RunningCloud,
) -> None:
    nova, project = OpenStackCloud(replace(running.settings, floating_network="public")), running.project
    made = await nova.create(SPEC, "the-token")
    project.becomes(made.id, "ACTIVE")
    await nova.machines()
    await project.remove(made.id)
    project.addresses["theirs"] = {"id": "theirs", "description": "a colleague's", "port_id": None}
    await nova.destroy([])
    assert list(project.addresses) == ["theirs"]
    await nova.close()


async def test_a_machine_without_the_floating_address_it_should_have_says_so(running: RunningCloud) -> None:
    nova, project = OpenStackCloud(replace(running.settings, floating_network="public")), running.project
    made = await nova.create(SPEC, "the-token")
    project.becomes(made.id, "ACTIVE")
    project.fails("POST", "floatingips", status=409, body='{"NeutronError": {"message": "No more IP addresses."}}')
    [info] = await nova.machines()
    assert (info.state, "No more IP addresses." in info.reason) == (MachineState.RUNNING, True)
    assert [info.address for info in await nova.machines()] == ["192.0.2.1"]
    await nova.close()
