"""The planner: its actions, carried out by a tiny interpreter, lead from any actual state to the desired one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vnicd.spec.partition import PartitionSpec
from vnicd.spec.plan import Action, Actual, Step, plan

State = dict[str, Actual]

REMOVALS = {Step.STOP_DAEMON, Step.DELETE_INTERFACE, Step.DELETE_NAMESPACE}
CREATIONS = {Step.MAKE_NAMESPACE, Step.MAKE_INTERFACE, Step.START_DAEMON}
NAMES = ("blue", "green", "red")


def specs(name: str) -> st.SearchStrategy[PartitionSpec]:
    return st.builds(
        PartitionSpec,
        st.just(name),
        mtu=st.sampled_from([1500, 9000]),
        netns=st.sampled_from(["", f"/proc/{name}"]),
    )


@st.composite
def actuals(draw: st.DrawFn, name: str) -> Actual:
    """What can be: an interface only in a namespace, and an attached namespace is there."""
    spec = draw(specs(name))
    namespace = not spec.owns_netns or draw(st.booleans())
    return Actual(spec, namespace, namespace and draw(st.booleans()), draw(st.booleans()))


DESIRED = st.fixed_dictionaries({}, optional={name: specs(name) for name in NAMES})
ACTUAL = st.fixed_dictionaries({}, optional={name: actuals(name) for name in NAMES})


def carry_out(state: State, action: Action) -> State:
    """The state after one action; AssertionError when it can't be done as the machine is."""
    spec, name = action.spec, action.spec.name
    have = state.get(name, Actual(spec, namespace=not spec.owns_netns))
    if action.step in CREATIONS and have.spec != spec:
        assert not (have.namespace and have.spec.owns_netns), "the old one is still there"
        assert not have.interface and not have.daemon, "the old one is still there"
        have = Actual(spec, namespace=not spec.owns_netns)
    assert have.spec == spec
    if action.step is Step.MAKE_NAMESPACE:
        assert spec.owns_netns and not have.namespace
        have = replace(have, namespace=True)
    elif action.step is Step.MAKE_INTERFACE:
        assert have.namespace and not have.interface
        have = replace(have, interface=True)
    elif action.step is Step.START_DAEMON:
        assert have.interface and not have.daemon
        have = replace(have, daemon=True)
    elif action.step is Step.STOP_DAEMON:
        assert have.daemon
        have = replace(have, daemon=False)
    elif action.step is Step.DELETE_INTERFACE:
        assert have.interface and not have.daemon, "a daemon still serves it"
        have = replace(have, interface=False)
    else:
        assert have.namespace and spec.owns_netns and not have.interface and not have.daemon
        have = replace(have, namespace=False)
    return {**state, name: have}


def run(state: State, actions: list[Action]) -> State:
    for action in actions:
        state = carry_out(state, action)
    return state


def leaves_nothing(have: Actual) -> bool:
    return not (have.namespace and have.spec.owns_netns) and not have.interface and not have.daemon


@given(DESIRED, ACTUAL)
def test_the_actions_lead_to_the_desired_state(desired: dict[str, PartitionSpec], actual: State) -> None:
    state = run(actual, plan(desired, actual))
    for name, spec in desired.items():
        assert state[name] == Actual(spec, namespace=True, interface=True, daemon=True)
    assert all(leaves_nothing(have) for name, have in state.items() if name not in desired)


@given(DESIRED, ACTUAL)
def test_a_second_plan_is_empty(desired: dict[str, PartitionSpec], actual: State) -> None:
    after = {name: have for name, have in run(actual, plan(desired, actual)).items() if name in desired}
    assert plan(desired, after) == []


@given(DESIRED, ACTUAL)
def test_what_is_in_order_is_not_touched(desired: dict[str, PartitionSpec], actual: State) -> None:
    in_order = {name for name, spec in desired.items() if actual.get(name) == Actual(spec, True, True, True)}
    assert not in_order & {action.spec.name for action in plan(desired, actual)}


@given(DESIRED, ACTUAL)
def test_removals_come_first_and_nothing_is_done_twice(
    desired: dict[str, PartitionSpec], actual: State
) -> None:
    actions = plan(desired, actual)
    kinds = [action.step in CREATIONS for action in actions]
    assert kinds == sorted(kinds)
    assert len(set(actions)) == len(actions)


@given(DESIRED, ACTUAL)
def test_an_unchanged_partition_is_never_removed(desired: dict[str, PartitionSpec], actual: State) -> None:
    same = {name for name, spec in desired.items() if name in actual and actual[name].spec == spec}
    assert not same & {action.spec.name for action in plan(desired, actual) if action.step in REMOVALS}


def test_a_new_partition_and_its_removal() -> None:
    spec = PartitionSpec("blue")
    created = [Step.MAKE_NAMESPACE, Step.MAKE_INTERFACE, Step.START_DAEMON]
    assert [action.step for action in plan({"blue": spec}, {})] == created
    removed = [action.step for action in plan({}, {"blue": Actual(spec, True, True, True)})]
    assert removed == [Step.STOP_DAEMON, Step.DELETE_INTERFACE, Step.DELETE_NAMESPACE]


def test_an_attached_namespace_is_left_there() -> None:
    spec = PartitionSpec("blue", netns="/proc/77/ns/net")
    assert [action.step for action in plan({"blue": spec}, {})] == [Step.MAKE_INTERFACE, Step.START_DAEMON]
    removed = [action.step for action in plan({}, {"blue": Actual(spec, True, True, True)})]
    assert removed == [Step.STOP_DAEMON, Step.DELETE_INTERFACE]


def test_an_attached_namespace_that_is_gone_is_not_made() -> None:
    """It is somebody else's: one that we made in its place would stay for ever, since no removal deletes it."""
    spec = PartitionSpec("blue", netns="/run/netns/container")
    actions = plan({"blue": spec}, {"blue": Actual(spec, namespace=False)})
    assert Step.MAKE_NAMESPACE not in [action.step for action in actions]
