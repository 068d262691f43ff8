"""A fixture for tests of messages: without the shape checker, which would refuse the same call in words of its own."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
