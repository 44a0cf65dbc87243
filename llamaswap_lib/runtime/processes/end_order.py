"""What is to become of a run, as the controller has ordered. Pure."""

from enum import Enum


class Order(Enum):
    """The strongest one counts; they are in order."""

    RUN = "run"
    STOP = "stop"
    KILL = "kill"
