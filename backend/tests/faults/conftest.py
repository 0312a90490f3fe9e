from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.processes import House, house
from tests.faults.promises import Premises
from tests.service import Service


@pytest.fixture
def premises(any_service: Service) -> Iterator[Premises]:
    """A service to talk to, whose jobs are done by processes that a test starts and ends, on both databases."""
    with house(any_service.container.settings) as made:
        yield Premises(any_service, made)


@pytest.fixture
def workers(premises: Premises) -> House:
    return premises.house
