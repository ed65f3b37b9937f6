"""Each attack is stopped; without its defence it succeeds, and nothing else is lost with it."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core import authorization, session
from sidecar.flows import joining, login
from sidecar.web import auth
from tests.attacks.attack import CLASSES, Attack, Defence, all_taken_out, is_always
from tests.attacks.lab import Lab
from tests.attacks.registry import ATTACKS

each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@pytest.fixture
def lab(signing_key: rsa.RSAPrivateKey) -> Lab:
    return Lab(signing_key)


@each_attack
async def test_an_attack_is_stopped(lab: Lab, attack: Attack) -> None:
    assert not await attack.run(lab)


@each_attack
async def test_without_its_defence_an_attack_succeeds_and_ordinary_use_goes_on(
    lab: Lab, attack: Attack
) -> None:
    with all_taken_out(attack.defences):
        succeeded = await attack.run(lab)
        await attack.use(lab)

    assert succeeded


@pytest.mark.parametrize(
    ("attack", "kept"),
    [(a, kept) for a in ATTACKS if len(a.defences) > 1 for kept in a.defences],
    ids=lambda value: value.name,
)
async def test_each_of_several_defences_stops_an_attack_alone(
    lab: Lab, attack: Attack, kept: Defence
) -> None:
    with all_taken_out([d for d in attack.defences if d is not kept]):
        assert not await attack.run(lab)


def test_every_class_of_attack_is_tried() -> None:
    tried = {number for attack in ATTACKS for number in attack.classes}

    assert tried == set(CLASSES)
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_a_defence_is_back_after_it_was_taken_out() -> None:
    before = vars(authorization)["safe_return_url"]
    defence = Defence("x", "sidecar.core.authorization:safe_return_url", is_always("elsewhere"))

    with defence.taken_out():
        taken_out = [vars(m)["safe_return_url"] for m in (authorization, auth)]

    assert taken_out[0] is taken_out[1] is not before
    assert all(vars(m)["safe_return_url"] is before for m in (authorization, auth))


def test_a_function_may_be_taken_out_in_one_place_alone() -> None:
    before = session.user_tag

    with Defence("x", "sidecar.flows.login:user_tag", is_always("x")).taken_out():
        assert vars(login)["user_tag"] is not before
        assert vars(joining)["user_tag"] is before


def test_a_defence_that_is_not_there_any_more_is_not_taken_for_one() -> None:
    with (
        pytest.raises(KeyError),
        Defence("x", "sidecar.core.authorization:renamed", is_always(None)).taken_out(),
    ):
        pass
