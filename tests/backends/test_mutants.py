"""Mutants of the zoo's nets: every backend computes the same."""

from __future__ import annotations

from random import Random

import pytest

import archlang
from archlang.catalogue import nets
from archlang.cost import cost
from archlang.search.mutations import Mutant, Subject, mutated, normal_text
from tests.backends.agreement import ALL, Case, assert_agree, is_conditioned
from tests.backends.keras_run import forget

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = (
    "zoo:lenet:LeNet5",
    "zoo:resnet_cifar:r20",
    "zoo:mobilenet_v2:w050",
    "zoo:squeezenet:v1_1",
    "zoo:regnet:x400mf",
)
LARGEST = 400e6
"""Multiply-accumulates of a mutant that is run; and parameters a tenth."""


def mutant_of(spec: str, rng: Random) -> Mutant:
    """A net of the zoo at a small resolution after one to three mutations."""
    net = archlang.load(spec)
    params = {param.name.id for param in net.value.decl.params or ()}
    if "res" in params and net.graph.nodes[0].type.height > 100:
        try:
            small = net.with_parameters(res=96)
            assert small.graph
            net = small
        except archlang.errors.ArchError:  # its head reads maps of one size
            pass
    subject = Subject(normal_text(net.value, net.args))
    mutant = mutated(subject, rng)
    for _ in range(rng.randrange(3)):
        mutant = mutated(Subject(mutant.text), rng)
    return mutant


def run(mutant: Mutant) -> bool:
    """Whether the mutant was small enough to be run; then all backends agree on it."""
    total = cost(mutant.graph).total
    if total.macs > LARGEST or total.params > LARGEST / 10 or len(mutant.graph.nodes) > 500:
        return False
    case = Case(mutant.graph)
    if not is_conditioned(case.graph, case.weights, case.inputs):
        return False
    assert_agree(case, {}, list(ALL))
    forget()
    return True


@pytest.mark.parametrize("spec", SMALL)
def test_a_mutant_is_the_same_network_everywhere(spec: str) -> None:
    rng = Random(spec)
    assert any(run(mutant_of(spec, rng)) for _ in range(5))


@pytest.mark.slow
def test_two_hundred_mutants_are_the_same_network_everywhere() -> None:
    rng, specs = Random(1), [entry.spec for entry in nets()]
    count = 0
    while count < 200:
        count += run(mutant_of(rng.choice(specs), rng))
